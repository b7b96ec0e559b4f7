//! What holds of what other nodes say, and of invitations, whatever the bytes are.
//! The property tests here and the fuzz targets `frames` and `token` of
//! `redirectd/fuzz` run the same functions.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::runtime::Builder;

use super::{
    protocol::{Answer, Call, Hello, Joining, LARGEST, LARGEST_OF_STRANGER, Welcome, read, write},
    token::{Token, sealed},
};
use crate::error::Kind;

/// Reads `bytes` as frames, and as what is in one, of everything that is said.
///
/// # Panics
/// When something does not hold.
pub fn frames(bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("it is no more than a frame holds");
    let framed = [&length.to_be_bytes()[..], bytes].concat();
    for wire in [bytes, &framed] {
        heard::<Hello>(wire, LARGEST_OF_STRANGER);
        heard::<Joining>(wire, LARGEST_OF_STRANGER);
        heard::<Welcome>(wire, LARGEST_OF_STRANGER);
        heard::<Call>(wire, LARGEST);
        heard::<Answer<Value>>(wire, LARGEST);
    }
}

/// What is heard is no longer than is taken, and can be said again.
fn heard<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(
    mut wire: &[u8],
    largest: u32,
) {
    let runtime = Builder::new_current_thread().build().expect("a runtime can be made");
    let mut before = wire.len();
    while let Ok(Some(message)) = runtime.block_on(read::<T>(&mut wire, largest)) {
        assert!(before - wire.len() <= largest as usize + 4, "more was taken than is allowed");
        before = wire.len();
        let mut again = Vec::new();
        runtime.block_on(write(&mut again, &message)).expect("it is short enough");
        let heard: Option<T> =
            runtime.block_on(read(&mut &again[..], LARGEST)).expect("it was written");
        assert_eq!(heard, Some(message));
    }
}

/// Reads `bytes` as an invitation: as its text, and as what its digits stand for.
///
/// # Panics
/// When something does not hold.
pub fn token(bytes: &[u8]) {
    for text in [String::from_utf8_lossy(bytes).into_owned(), sealed(bytes)] {
        match text.parse::<Token>() {
            Ok(token) => assert_eq!(token.to_string().parse(), Ok(token)),
            Err(error) => assert!(error.kind == Kind::Usage && error.cure.is_some(), "{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    /// One of each that is said.
    const SAID: [&str; 6] = [
        r#"{"version":1,"release":"0.1.0"}"#,
        r#"{"name":"c","address":"192.0.2.3","port":9311,"proof":"00ff"}"#,
        r#"{"name":"home","proof":"00ff"}"#,
        r#"{"call":"request","service":"node","name":"abilities","body":{"a":[1.5e300,null]}}"#,
        r#"{"done":{"a":["\u0000",-1]}}"#,
        r#"{"refused":{"kind":"failed","what":"it is not there","cure":"make it"}}"#,
    ];

    #[test]
    fn it_holds_of_nothing_and_of_what_is_said() {
        frames(&[]);
        token(&[]);
        SAID.iter().for_each(|said| frames(said.as_bytes()));
        token(&[&[7; 48][..], b"192.0.2.1:9311"].concat());
    }

    /// However deep, it does not take the stack.
    #[test]
    fn it_holds_of_what_is_nested() {
        for bracket in ["[", "{\"a\":"] {
            frames(bracket.repeat(100_000).as_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn it_holds_of_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
            frames(&bytes);
            token(&bytes);
        }

        /// With some bytes changed, left out or put in.
        #[test]
        fn it_holds_of_what_is_nearly_right(
            which in 0..SAID.len(),
            changes in vec((any::<Index>(), any::<u8>(), 0..3), 1..5),
        ) {
            let mut bytes = SAID[which].as_bytes().to_vec();
            for (place, byte, how) in changes {
                let place = place.index(bytes.len());
                match how {
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    _ => drop(bytes.remove(place)),
                }
            }
            frames(&bytes);
        }

        /// The address is text behind 48 bytes.
        #[test]
        fn it_holds_of_any_address(
            secrets in vec(any::<u8>(), 48),
            address in "[0-9a-f:.%\\[\\]]{0,60}",
        ) {
            token(&[&secrets[..], address.as_bytes()].concat());
        }
    }
}
