//! What a node does for those it knows, by name: the seam at which moving
//! processes, and whatever else nodes do together, is added without a change to
//! how they talk.

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::members::Member;
use crate::error::{Error, Kind};

/// A connection that carries bytes in both directions, over TLS. It ends with
/// `shutdown`; a connection that just breaks is an error to whoever reads, not an
/// end.
pub type Stream = TlsStream<TcpStream>;

/// Something that is done later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What becomes of a stream once the other side knows that it is taken.
pub type Taker = Box<dyn FnOnce(Stream) -> Later<'static, ()> + Send>;

/// Answers requests and takes streams of nodes that are known.
///
/// Whatever it does is dropped where it waits when the daemon stops or the asking
/// node is removed. What must come to its end is to be handed to a task.
pub trait NodeService: Send + Sync {
    /// What nodes call it.
    fn name(&self) -> &'static str;

    /// Answers the request `name` of the node `from`.
    ///
    /// # Errors
    /// Told to that node as they are.
    fn request<'a>(
        &'a self,
        from: &'a Member,
        name: &'a str,
        body: Value,
    ) -> Later<'a, Result<Value, Error>>;

    /// Takes a stream for `purpose` from the node `from`: what to answer, and what
    /// to do with the stream then.
    ///
    /// # Errors
    /// Told to that node as they are; there is no stream then.
    fn stream<'a>(
        &'a self,
        from: &'a Member,
        purpose: &'a str,
        body: Value,
    ) -> Later<'a, Result<(Value, Taker), Error>> {
        let _ = (from, body);
        Box::pin(async move { Err(no_such("stream", self.name(), purpose)) })
    }
}

/// That a service does not do what it is asked for.
#[must_use]
pub fn no_such(what: &str, service: &str, name: &str) -> Error {
    let what = format!("this redirectd knows no {what} `{name}` of the service `{service}`");
    Error::new(Kind::NotFound, what).cure("run the same release of redirectd on both nodes")
}

/// The services of this node.
#[derive(Clone, Default)]
pub struct Services {
    by_name: BTreeMap<&'static str, Arc<dyn NodeService>>,
}

impl Services {
    /// The same, and `service`.
    #[must_use]
    pub fn with(mut self, service: impl NodeService + 'static) -> Self {
        self.by_name.insert(service.name(), Arc::new(service));
        self
    }

    /// The one of that name.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn named(&self, name: &str) -> Result<&dyn NodeService, Error> {
        let unknown = || {
            Error::new(Kind::NotFound, format!("this redirectd knows no service `{name}`"))
                .cure("run the same release of redirectd on both nodes")
        };
        self.by_name.get(name).map(AsRef::as_ref).ok_or_else(unknown)
    }
}
