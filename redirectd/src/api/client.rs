//! Asks the daemon.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::{
    events::Event,
    types::{Document, Failure, VERSION},
};
use crate::error::{Error, Kind};

/// A way to the daemon on one socket; each request makes a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon that listens on `socket`.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// What is at `path`.
    ///
    /// # Errors
    /// The daemon is not reached, or refuses.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        read(self.send(Method::GET, path, Bytes::new()).await?).await
    }

    /// Sends `body` to `path`.
    ///
    /// # Errors
    /// The daemon is not reached, or refuses.
    pub async fn send_to<B, T>(&self, method: Method, path: &str, body: &B) -> Result<T, Error>
    where
        B: Serialize,
        T: DeserializeOwned,
    {
        let body = serde_json::to_vec(body).map_err(|e| garbled(&e))?;
        read(self.send(method, path, body.into()).await?).await
    }

    /// Follows what happens from now on.
    ///
    /// # Errors
    /// The daemon is not reached, or refuses.
    pub async fn events(&self) -> Result<EventStream, Error> {
        let response = self.send(Method::GET, "/v1/events", Bytes::new()).await?;
        Ok(EventStream { body: succeeded(response).await?.into_body(), rest: Vec::new() })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|e| unreachable(&self.socket, &e))?;
        let lost = |error: hyper::Error| {
            Error::new(Kind::Unreachable, format!("the connection to redirectd broke: {error}"))
                .cure("see `systemctl status redirectd` and its log")
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "redirectd")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|e| Error::new(Kind::Usage, format!("cannot ask for {path}: {e}")))?;
        sender.send_request(request).await.map_err(lost)
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    rest: Vec<u8>,
}

impl EventStream {
    /// The next event, or none when the daemon has stopped.
    ///
    /// # Errors
    /// The connection broke, or what came makes no sense.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return document(&line).map(Some);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    self.rest.extend(frame.into_data().unwrap_or_default());
                }
                Some(Err(error)) => return Err(garbled(&error)),
            }
        }
    }
}

async fn succeeded(response: Response<Incoming>) -> Result<Response<Incoming>, Error> {
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    let status = response.status();
    let body = collect(response).await?;
    match serde_json::from_slice::<Failure>(&body) {
        Ok(failure) => Err(failure.error),
        Err(_) => Err(Error::new(Kind::Failed, format!("redirectd answered {status}"))),
    }
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Error> {
    document(&collect(succeeded(response).await?).await?)
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Error> {
    Ok(response.into_body().collect().await.map_err(|e| garbled(&e))?.to_bytes())
}

fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let document: Document<T> = serde_json::from_slice(body).map_err(|e| garbled(&e))?;
    if document.version != VERSION {
        let what = format!("redirectd speaks version {}, this is {VERSION}", document.version);
        return Err(Error::new(Kind::Failed, what).cure("use the `redirect` of the same release"));
    }
    Ok(document.body)
}

fn garbled(error: &dyn std::error::Error) -> Error {
    Error::new(Kind::Failed, format!("redirectd's answer makes no sense: {error}"))
        .cure("use the `redirect` of the same release")
}

fn unreachable(socket: &Path, error: &io::Error) -> Error {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Error::new(Kind::NotPermitted, format!("this user may not open {socket}")).cure(
                "run it as root, or join the group that owns the socket (`usermod -aG redirectd \
                 USER`) and log in again",
            )
        }
        io::ErrorKind::NotFound => {
            Error::new(Kind::Unreachable, format!("redirectd does not run: there is no {socket}"))
                .cure("`systemctl start redirectd`, or name its socket with --socket")
        }
        _ => {
            Error::new(Kind::Unreachable, format!("redirectd does not answer on {socket}: {error}"))
                .cure("`systemctl restart redirectd`, or name its socket with --socket")
        }
    }
}
