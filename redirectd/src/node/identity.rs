//! Who this node is: its name, its key, and the certificate others know it by.
//!
//! The certificate is signed by its own key and says nothing; what counts is its
//! fingerprint, which the nodes it has joined keep. It does not expire: a node is
//! known until it is removed.

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use super::{fingerprint::Fingerprint, hex};
use crate::{
    durable,
    error::{Error, Kind},
    rule,
};

/// This node, as others know it.
#[derive(Clone)]
pub struct Identity {
    name: String,
    listen: Option<SocketAddr>,
    fingerprint: Fingerprint,
    certificate: CertificateDer<'static>,
    /// In DER (PKCS #8).
    key: Vec<u8>,
}

/// An [`Identity`] in its file; bytes in hexadecimal.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    certificate: String,
    key: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// A new one, with a new key (Ed25519).
    ///
    /// # Errors
    /// The name cannot be one, or the machine has no good random numbers.
    pub fn make(name: &str) -> Result<Self, Error> {
        check_name(name)?;
        let failed = |why: rcgen::Error| {
            Error::new(Kind::Failed, format!("cannot make a key for this node: {why}"))
        };
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(failed)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "redirectd node");
        let certificate = parameters.self_signed(&pair).map_err(failed)?.der().clone();
        Ok(Self {
            name: name.to_owned(),
            listen: None,
            fingerprint: Fingerprint::of(&certificate),
            certificate,
            key: pair.serialize_der(),
        })
    }

    /// The one in `folder`; none if there is none.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or is open to others.
    pub fn load(folder: &Path) -> Result<Option<Self>, Error> {
        let path = path(folder);
        let Some(written) = durable::read::<Written>(&path)? else { return Ok(None) };
        let damaged = |what: &str| {
            Error::new(Kind::Failed, format!("{} is damaged: {what}", path.display()))
                .cure("put a good copy back, or remove it and have this node join the others again")
        };
        check_name(&written.name)?;
        let certificate =
            hex::decode(&written.certificate).ok_or_else(|| damaged("certificate"))?;
        let key = hex::decode(&written.key).ok_or_else(|| damaged("key"))?;
        Ok(Some(Self {
            name: written.name,
            listen: written.listen,
            fingerprint: Fingerprint::of(&certificate),
            certificate: certificate.into(),
            key,
        }))
    }

    /// Keeps it in `folder`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn store(&self, folder: &Path) -> Result<(), Error> {
        let written = Written {
            name: self.name.clone(),
            listen: self.listen,
            certificate: hex::encode(&self.certificate),
            key: hex::encode(&self.key),
        };
        durable::replace(&path(folder), &written)
    }

    /// The same node under another name.
    ///
    /// # Errors
    /// The name cannot be one.
    pub fn renamed(&self, name: &str) -> Result<Self, Error> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), ..self.clone() })
    }

    /// The same node, to listen elsewhere.
    #[must_use]
    pub fn listening(&self, listen: SocketAddr) -> Self {
        Self { listen: Some(listen), ..self.clone() }
    }

    /// What other nodes call it, unless they have their own word.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where `redirect node init` has it listen.
    #[must_use]
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }

    /// What other nodes recognise it by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its certificate.
    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The certificate's key.
    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("identity.json")
}

/// Whether a node may be called `name`: what a host may be called, as processes
/// are moved to nodes by their names.
///
/// # Errors
/// It may not, and why.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let usage = |what: String, cure: &str| Err(Error::new(Kind::Usage, what).cure(cure));
    if let Some(flaw) = rule::name_flaw("node", name) {
        return usage(flaw.what, &flaw.cure);
    }
    if name == rule::AT_HOME {
        let what = "a node cannot be called `home`: that means this machine itself".to_owned();
        return usage(what, "give it another name");
    }
    if name.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-') {
        let what = format!("the node name `{name}` could be taken for an address or a port");
        return usage(what, "use at least one letter");
    }
    Ok(())
}

/// The machine's own name, up to its first dot.
///
/// # Errors
/// It has none that a node can have.
pub(super) fn machine_name() -> Result<String, Error> {
    let text = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = text.trim().split('.').next().unwrap_or_default();
    check_name(name).map(|()| name.to_owned()).map_err(|error| {
        Error::new(
            Kind::Failed,
            format!("this machine's name cannot be its node's: {}", error.what),
        )
        .cure("give one with --name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_after_a_restart_and_another_s_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Identity::load(folder.path()).unwrap().is_none());
        let listen = "192.0.2.1:9311".parse().unwrap();
        let made = Identity::make("alpha").unwrap().listening(listen);
        made.store(folder.path()).unwrap();
        let loaded = Identity::load(folder.path()).unwrap().unwrap();
        assert_eq!((loaded.name(), loaded.listen()), ("alpha", Some(listen)));
        assert_eq!(loaded.fingerprint(), made.fingerprint());
        assert_eq!(loaded.key(), made.key());
        assert_ne!(Identity::make("alpha").unwrap().fingerprint(), made.fingerprint());
        assert!(!format!("{made:?}").contains(&hex::encode(&made.key)));
    }

    #[test]
    fn a_name_is_one_that_hosts_may_have() {
        for name in ["alpha", "node-1", "c.example"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "home", "192.0.2.1", "80", "a b", "-a", "é"] {
            assert_eq!(check_name(name).unwrap_err().kind, Kind::Usage, "{name}");
        }
    }
}
