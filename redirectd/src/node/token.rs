//! The one line that is carried from a node that invites to the one that joins:
//! where to call, whom to expect there, and a secret.
//!
//! It is as good as a password until it is used or expires. A checksum finds what
//! was not copied whole.

use std::{fmt, net::SocketAddr, str::FromStr};

use ring::digest;

use super::{fingerprint::Fingerprint, hex};
use crate::error::{Error, Kind};

/// What a token begins with; the digit is the version of its form.
const PREFIX: &str = "redirect-node-1-";

/// Bytes of a secret: too many to be guessed.
pub(super) const SECRET: usize = 16;

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// What the joining node must know and be known to know.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) [u8; SECRET]);

/// An invitation as it is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Where the inviting node listens.
    pub(super) address: SocketAddr,
    /// Its certificate's fingerprint.
    pub(super) fingerprint: Fingerprint,
    /// What proves that whoever joins was invited.
    pub(super) secret: Secret,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.fingerprint.0.to_vec();
        bytes.extend(self.secret.0);
        bytes.extend(self.address.to_string().bytes());
        f.write_str(&sealed(&bytes))
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let Some(digits) = text.trim().strip_prefix(PREFIX) else {
            return Err(wrong("this is not an invitation of a node of this release"));
        };
        let damaged = || wrong("this invitation was not copied whole, or was changed");
        let bytes = hex::decode(digits).ok_or_else(damaged)?;
        let (bytes, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or_else(damaged)?;
        if checksum(bytes) != *sum {
            return Err(damaged());
        }
        let (fingerprint, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let (secret, address) = rest.split_first_chunk().ok_or_else(damaged)?;
        let address = str::from_utf8(address).ok().and_then(|address| address.parse().ok());
        Ok(Self {
            address: address.ok_or_else(damaged)?,
            fingerprint: Fingerprint(*fingerprint),
            secret: Secret(*secret),
        })
    }
}

/// The text of a token with these bytes.
pub(super) fn sealed(bytes: &[u8]) -> String {
    format!("{PREFIX}{}{}", hex::encode(bytes), hex::encode(&checksum(bytes)))
}

fn wrong(what: &str) -> Error {
    Error::new(Kind::Usage, what).cure(
        "copy all of the line that `redirect node invite` printed on the other machine, or have \
         it print a new one",
    )
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&digest.as_ref()[..CHECKSUM]);
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(address: &str) -> Token {
        Token {
            address: address.parse().unwrap(),
            fingerprint: Fingerprint([7; 32]),
            secret: Secret([9; SECRET]),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for address in ["192.0.2.1:9311", "[2001:db8::1]:1", "[fe80::1%3]:65535"] {
            let token = token(address);
            assert_eq!(format!("  {token}\n").parse::<Token>().unwrap(), token);
        }
    }

    proptest! {
        #[test]
        fn a_token_with_any_one_digit_changed_is_refused(place: prop::sample::Index, digit in 0u32..16) {
            let token = token("192.0.2.1:9311").to_string();
            let place = PREFIX.len() + place.index(token.len() - PREFIX.len());
            let digit = char::from_digit(digit, 16).unwrap();
            let mut changed = token.clone();
            changed.replace_range(place..=place, &digit.to_string());
            prop_assert_eq!(changed.parse::<Token>().is_ok(), changed == token);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String, digits in "[0-9a-f]{0,200}") {
            prop_assert!(text.parse::<Token>().is_err());
            let error = format!("{PREFIX}{digits}").parse::<Token>().unwrap_err();
            prop_assert_eq!(error.kind, Kind::Usage);
        }
    }
}
