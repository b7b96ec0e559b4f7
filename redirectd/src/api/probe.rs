//! What `redirect add` wants to know of a target before it redirects to it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::{
    error::{Error, Kind},
    rule::{Protocol, Redirect},
};

/// How long a TCP target may take to answer: long enough for a SYN to be sent
/// again, as the first may be lost while its neighbour is looked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The addresses of `host` by the machine's own resolver, none twice.
///
/// # Errors
/// It does not resolve.
pub(super) async fn resolve(host: &str) -> Result<Vec<IpAddr>, Error> {
    let unknown = |why: String| {
        Error::new(Kind::NotFound, format!("the target `{host}` does not resolve: {why}")).cure(
            "give its address, or name it under `hosts:` in the configuration and run \
             `redirect apply`",
        )
    };
    let mut addresses = Vec::new();
    for found in lookup_host((host, 0)).await.map_err(|e| unknown(e.to_string()))? {
        if !addresses.contains(&found.ip()) {
            addresses.push(found.ip());
        }
    }
    if addresses.is_empty() {
        return Err(unknown("it has no address".to_owned()));
    }
    Ok(addresses)
}

/// Whether the target of `redirect` takes TCP connections from here. UDP targets
/// and port ranges are not asked: silence from them says nothing.
///
/// # Errors
/// It refuses, or does not answer within two seconds.
pub(super) async fn answers(redirect: &Redirect) -> Result<(), Error> {
    if !redirect.protocols.contains(&Protocol::Tcp) || redirect.ports.len() > 1 {
        return Ok(());
    }
    let target = SocketAddr::new(redirect.target, redirect.target_port);
    let why = match timeout(PATIENCE, TcpStream::connect(target)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "it refuses connections".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer within 2 seconds".to_owned(),
    };
    let what = format!("nothing serves tcp at {target}, the target of `{}`: {why}", redirect.name);
    Err(Error::new(Kind::Failed, what)
        .cure("start the server there or correct --to; or add it all the same with --no-check"))
}
