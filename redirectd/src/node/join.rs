//! Two nodes come to know each other, by an invitation.
//!
//! The one that joins recognises the one that invites by the fingerprint in the
//! token. Then each proves that it knows the token's secret, by a code over what
//! only the two ends of this one TLS session can derive: so neither a listener nor
//! somebody in the middle learns anything, and a proof is of no use elsewhere. The
//! inviting node keeps the other before it says welcome, so that an invitation
//! that was used is used.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use humantime::format_rfc3339_seconds;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client, server};

use super::{
    Nodes,
    fingerprint::Fingerprint,
    identity::{Identity, check_name},
    invite::{self, End},
    link, listener,
    members::Member,
    protocol::{self, Answer, Joining, LARGEST_OF_STRANGER, ReadError, Welcome},
    refusals::Why,
    socket,
    tls::{self, Purpose, Refused},
    token::{Secret, Token},
};
use crate::error::{Error, Kind};

/// How long the inviting node may take in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Joins the node that `token` is of; `listens` is where this node does. Returns
/// what is to be kept of it.
///
/// # Errors
/// It is not reached, is not who it should be, or refuses.
pub(super) async fn join(
    identity: &Identity,
    listens: Option<SocketAddr>,
    token: &Token,
) -> Result<Member, Error> {
    let expected = token.fingerprint;
    let config = tls::client(identity, Arc::new(move |seen| seen == expected), Purpose::Join)?;
    let joining = async {
        let tcp = socket::connect(token.address).await?;
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(ServerName::from(token.address.ip()), tcp).await?;
        let hello = link::greet(&mut stream).await?;
        Ok::<_, ReadError>((stream, hello))
    };
    let met = timeout(PATIENCE, joining).await.unwrap_or_else(|_| late());
    let (mut stream, hello) = met.map_err(|why| not_joined(token, &why))?;
    hello.check()?;
    let session = exported(&stream)?;
    let message = Joining {
        name: identity.name().to_owned(),
        address: listens.map(|listens| listens.ip()).filter(|ip| !ip.is_unspecified()),
        port: listens.map(|listens| listens.port()),
        proof: token.secret.proof(End::Joining, &session).into(),
    };
    let asking = async {
        protocol::write(&mut stream, &message).await?;
        let answer = protocol::read::<Answer<Welcome>>(&mut stream, LARGEST_OF_STRANGER).await?;
        answer.ok_or(ReadError::Io(io::ErrorKind::UnexpectedEof.into()))
    };
    let answer = timeout(PATIENCE, asking).await.unwrap_or_else(|_| late());
    let welcome = Result::from(answer.map_err(|why| not_joined(token, &why))?)?;
    check_name(&welcome.name)?;
    if !token.secret.proves(End::Inviting, &session, &welcome.proof.bytes()) {
        let what = "who answered does not know the invitation's secret";
        return Err(Error::new(Kind::Failed, what).cure("have it invite again"));
    }
    Ok(Member {
        name: welcome.name,
        fingerprint: token.fingerprint,
        address: Some(token.address),
        joined: now(),
    })
}

fn exported(stream: &client::TlsStream<TcpStream>) -> Result<[u8; 32], Error> {
    let session = stream.get_ref().1;
    tls::exported(|secret, label| session.export_keying_material(secret, label, None))
}

fn late<T>() -> Result<T, ReadError> {
    Err(ReadError::Io(io::ErrorKind::TimedOut.into()))
}

fn not_joined(token: &Token, why: &ReadError) -> Error {
    let address = token.address;
    let refused = if let ReadError::Io(error) = why { Refused::read(error) } else { None };
    match refused {
        Some(Refused::Purpose) => invite::not_open(),
        Some(Refused::ByUs) => {
            let what = format!("who answers on {address} is not the node that gave the invitation");
            Error::new(Kind::Failed, what).cure(
                "have it invite again, if it was set up anew; if not, somebody is in its place",
            )
        }
        Some(Refused::ByThem) | None => {
            let what = format!("the node on {address} does not answer: {why}");
            Error::new(Kind::Failed, what).cure(
                "see that redirectd runs there, that the address can be reached from here, and \
                 that no firewall is between; or give another with `redirect node invite \
                 --address`",
            )
        }
    }
}

/// Takes in the node at the other end of `stream`, if it was invited.
///
/// # Errors
/// It was not, or cannot be taken in; it has been told.
pub(super) async fn invite(
    nodes: &Nodes,
    mut stream: server::TlsStream<TcpStream>,
    from: SocketAddr,
) -> Result<(), (Why, String)> {
    listener::greet(&mut stream).await?;
    let joining = protocol::read::<Joining>(&mut stream, LARGEST_OF_STRANGER).await;
    let joining = joining.map_err(listener::nonsense)?;
    let joining = joining.ok_or((Why::Nonsense, "it said nothing".to_owned()))?;
    let session = stream.get_ref().1;
    let secret = tls::exported(|secret, label| session.export_keying_material(secret, label, None));
    let answer = match (secret, tls::other_side(session)) {
        (Ok(secret), Some(fingerprint)) => take_in(nodes, &joining, fingerprint, &secret, from),
        (Err(error), _) => Err(error),
        (_, None) => Err(Error::new(Kind::Failed, "it has shown no certificate")),
    };
    let failed = answer.as_ref().err().map(|error| error.what.clone());
    let said = protocol::write(&mut stream, &Answer::from(answer)).await;
    // So that the answer arrives before the connection ends.
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
    match (failed, said) {
        (Some(what), _) => Err((Why::JoinFailed, what)),
        (None, Err(error)) => Err((Why::JoinFailed, error.to_string())),
        (None, Ok(())) => Ok(()),
    }
}

fn take_in(
    nodes: &Nodes,
    joining: &Joining,
    fingerprint: Fingerprint,
    session: &[u8; 32],
    from: SocketAddr,
) -> Result<Welcome, Error> {
    let proof = joining.proof.bytes();
    let proves = |secret: &_| Secret::proves(secret, End::Joining, session, &proof);
    nodes.redeem(proves, |secret, ours| {
        check_name(&joining.name)?;
        if joining.name == ours {
            let what = format!("the node that invites is called `{ours}` itself");
            return Err(Error::new(Kind::Conflict, what)
                .cure("join under another name: `redirect node init --name NAME`"));
        }
        let address = joining.address.unwrap_or_else(|| from.ip().to_canonical());
        let member = Member {
            name: joining.name.clone(),
            fingerprint,
            address: joining.port.map(|port| SocketAddr::new(address, port)),
            joined: now(),
        };
        let proof = secret.proof(End::Inviting, session).into();
        Ok((member, Welcome { name: ours.to_owned(), proof }))
    })
}

fn now() -> String {
    format_rfc3339_seconds(SystemTime::now()).to_string()
}
