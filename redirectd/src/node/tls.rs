//! TLS between nodes: version 1.3 only, both sides with a certificate, each
//! recognised by its fingerprint.
//!
//! No authority signs certificates, and none could vouch for a stranger: the
//! verifier here asks whether the fingerprint is one it knows, and rustls checks,
//! by the handshake's signature, that the other side has the key to it. Names and
//! dates in certificates are not looked at. Sessions are not resumed: a resumed
//! one would not be asked for its certificate, and a removed node must be.

use std::{fmt, io, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName,
    Error as TlsError, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::TLS13,
};

use super::{fingerprint::Fingerprint, identity::Identity};
use crate::error::{Error, Kind};

/// What a connection is for, agreed in the handshake (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Two nodes that know each other.
    Link,
    /// A node that was invited, and is not known yet.
    Join,
}

/// The label of the secret both ends of a session can derive, and nobody else
/// (RFC 8446, section 7.5).
const EXPORTER: &[u8] = b"EXPORTER-redirectd-join";

/// Whose certificates are taken.
pub(super) type Known = dyn Fn(Fingerprint) -> bool + Send + Sync;

impl Purpose {
    /// Its name in the handshake.
    pub(super) fn protocol(self) -> &'static [u8] {
        match self {
            Self::Link => b"redirectd-node",
            Self::Join => b"redirectd-join",
        }
    }
}

/// Recognises the other side by its fingerprint.
struct Pinned {
    known: Arc<Known>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), TlsError> {
        if (self.known)(Fingerprint::of(certificate)) {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// TLS 1.2 is not spoken, so nothing of it is ever right.
fn not_tls12() -> Result<HandshakeSignatureValid, TlsError> {
    Err(CertificateError::BadSignature.into())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.check(certificate).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        not_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.check(certificate).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        not_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn pinned(known: Arc<Known>) -> (Arc<CryptoProvider>, Arc<Pinned>) {
    let provider = ring::default_provider();
    let algorithms = provider.signature_verification_algorithms;
    (Arc::new(provider), Arc::new(Pinned { known, algorithms }))
}

/// How a node that calls speaks, for `purpose`, to the one that `known` knows.
///
/// # Errors
/// The identity's key and certificate are not what they should be.
pub(super) fn client(
    identity: &Identity,
    known: Arc<Known>,
    purpose: Purpose,
) -> Result<ClientConfig, Error> {
    let (provider, pinned) = pinned(known);
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .and_then(|config| {
            config
                .dangerous()
                .with_custom_certificate_verifier(pinned)
                .with_client_auth_cert(vec![identity.certificate()], identity.key())
        });
    let mut config = config.map_err(|why| unusable(&why))?;
    config.alpn_protocols = vec![purpose.protocol().to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// How a node that is called speaks, for `purpose`, to those that `known` knows.
///
/// # Errors
/// The identity's key and certificate are not what they should be.
pub(super) fn server(
    identity: &Identity,
    known: Arc<Known>,
    purpose: Purpose,
) -> Result<ServerConfig, Error> {
    let (provider, pinned) = pinned(known);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .and_then(|config| {
            config
                .with_client_cert_verifier(pinned)
                .with_single_cert(vec![identity.certificate()], identity.key())
        });
    let mut config = config.map_err(|why| unusable(&why))?;
    config.alpn_protocols = vec![purpose.protocol().to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn unusable(why: &TlsError) -> Error {
    Error::new(Kind::Failed, format!("this node's key cannot be used: {why}"))
        .cure("put a good copy of node/identity.json back in the state directory")
}

/// What only the two ends of a session know, for a proof that holds for it alone;
/// `export` is that session's `export_keying_material`.
///
/// # Errors
/// The handshake is not over.
pub(super) fn exported(
    export: impl FnOnce([u8; 32], &[u8]) -> Result<[u8; 32], TlsError>,
) -> Result<[u8; 32], Error> {
    export([0; 32], EXPORTER)
        .map_err(|why| Error::new(Kind::Failed, format!("the session has no secret: {why}")))
}

/// The fingerprint of the certificate that the other side of `session` has shown.
pub(super) fn other_side(session: &rustls::CommonState) -> Option<Fingerprint> {
    session.peer_certificates()?.first().map(|certificate| Fingerprint::of(certificate))
}

/// Why a handshake, or what came right after it, has failed, as far as TLS says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The other side does not know our certificate.
    ByThem,
    /// We do not know the other side's.
    ByUs,
    /// The other side does not do what we connected for.
    Purpose,
}

impl Refused {
    /// What `error` says of it.
    pub(super) fn read(error: &io::Error) -> Option<Self> {
        let tls = error.get_ref()?.downcast_ref::<TlsError>()?;
        match tls {
            TlsError::AlertReceived(
                AlertDescription::AccessDenied
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::DecryptError,
            ) => Some(Self::ByThem),
            TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)
            | TlsError::NoApplicationProtocol => Some(Self::Purpose),
            TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented => Some(Self::ByUs),
            _ => None,
        }
    }
}
