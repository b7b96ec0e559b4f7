//! Two nodes of this process, over loopback.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    protocol::{Answer, Hello, LARGEST},
    service::{Later, NodeService, Taker, no_such},
    tls::Purpose,
    *,
};
use crate::api::nodes::{InitRequest, InviteRequest, JoinRequest, NodeState};

/// A node of a test; it stops when dropped.
struct Node {
    nodes: Nodes,
    folder: TempDir,
    _stop: watch::Sender<bool>,
}

impl Node {
    fn start(folder: TempDir, services: Services) -> Self {
        let (stop, stopping) = watch::channel(false);
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let nodes = Nodes::start(folder.path(), Some(anywhere), services, stopping).unwrap();
        Self { nodes, folder, _stop: stop }
    }

    async fn called(name: &str, services: Services) -> Self {
        let node = Self::start(tempfile::tempdir().unwrap(), services);
        let request = InitRequest { name: Some(name.to_owned()), listen: None };
        assert!(node.nodes.init(&request).await.unwrap(), "it is new");
        node
    }

    fn invite(&self) -> String {
        let request = InviteRequest { address: None, expires_seconds: 60.0 };
        self.nodes.invite(&request).unwrap().token
    }

    async fn join(&self, token: &str) -> Result<Member, Error> {
        let init = InitRequest::default();
        self.nodes.join(&JoinRequest { token: token.to_owned(), init }).await
    }

    fn refused(&self, why: Why) -> u64 {
        self.nodes.refusals()[&why]
    }
}

/// Two that know each other; the first has the service [`Echo`].
async fn joined() -> (Node, Node) {
    let services = Services::default().with(Echo);
    let (a, b) = (Node::called("a", services).await, Node::called("b", Services::default()).await);
    assert_eq!(b.join(&a.invite()).await.unwrap().name, "a");
    (a, b)
}

/// Says what it is told, and by whom; takes streams for `echo`.
struct Echo;

/// Whether a stream of [`Echo`] was let go before its end.
static CUT: AtomicBool = AtomicBool::new(false);

/// Says so when it is dropped.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        CUT.store(true, Ordering::Relaxed);
    }
}

impl NodeService for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn request<'a>(
        &'a self,
        from: &'a Member,
        name: &'a str,
        body: Value,
    ) -> Later<'a, Result<Value, Error>> {
        Box::pin(async move {
            match name {
                "say" => Ok(json!({ "from": from.name, "said": body })),
                _ => Err(no_such("request", "echo", name)),
            }
        })
    }

    fn stream<'a>(
        &'a self,
        from: &'a Member,
        purpose: &'a str,
        body: Value,
    ) -> Later<'a, Result<(Value, Taker), Error>> {
        Box::pin(async move {
            if purpose != "echo" {
                return Err(Error::new(Kind::Conflict, format!("not now, {}", from.name)));
            }
            let taker: Taker = Box::new(|mut stream| {
                Box::pin(async move {
                    let guard = Guard;
                    let mut heard = Vec::new();
                    if stream.read_to_end(&mut heard).await.is_ok() {
                        let _ = stream.write_all(&heard).await;
                        let _ = stream.shutdown().await;
                    }
                    drop(guard);
                })
            });
            Ok((body, taker))
        })
    }
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other() {
    let (_a, b) = joined().await;
    let mut link = b.nodes.connect("a").await.unwrap();
    assert_eq!(link.member().name, "a");
    for said in ["one", "two"] {
        let answer: Value = link.request("echo", "say", &said).await.unwrap();
        assert_eq!(answer, json!({ "from": "b", "said": said }));
    }
    // What is refused does not end the connection, nor what is not understood.
    for (service, name) in [("echo", "sing"), ("choir", "sing")] {
        let error = link.request::<Value>(service, name, &()).await.unwrap_err();
        assert_eq!(error.kind, Kind::NotFound);
        assert!(error.what.contains(service) && error.cure.is_some(), "{error}");
    }
    let error = link.request::<Vec<u8>>("echo", "say", &()).await.unwrap_err();
    assert!(error.what.contains("makes no sense"), "{error}");
    let large = "x".repeat(1 << 20);
    let answer: Value = link.request("echo", "say", &large).await.unwrap();
    assert_eq!(answer["said"], large);
    assert!(link.request::<Value>("echo", "say", &"x".repeat(LARGEST as usize)).await.is_err());
}

#[tokio::test]
async fn a_connection_becomes_a_stream_of_any_bytes_in_both_directions() {
    let (_a, b) = joined().await;
    let link = b.nodes.connect("a").await.unwrap();
    let (answer, mut stream): (u32, _) = link.open_stream("echo", "echo", &7).await.unwrap();
    assert_eq!(answer, 7);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(heard == bytes);
    let link = b.nodes.connect("a").await.unwrap();
    let error = link.open_stream::<Value>("echo", "sing", &()).await.unwrap_err();
    assert_eq!(error.what, "not now, b");
}

#[tokio::test]
async fn what_a_removed_node_has_open_is_cut() {
    let (a, b) = joined().await;
    let mut link = b.nodes.connect("a").await.unwrap();
    link.request::<Value>("echo", "say", &()).await.unwrap();
    let streaming = b.nodes.connect("a").await.unwrap();
    let (_, mut stream): (Value, _) = streaming.open_stream("echo", "echo", &()).await.unwrap();
    a.nodes.remove("b").await.unwrap();
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "not an end, but cut");
    assert!(CUT.load(Ordering::Relaxed));
    assert!(link.request::<Value>("echo", "say", &()).await.unwrap_err().what.contains("broke"));
    let error = b.nodes.connect("a").await.unwrap_err();
    assert!(error.what.contains("does not know this node"), "{error}");
    assert_eq!(a.refused(Why::Stranger), 1);
    let error = a.nodes.connect("b").await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
}

#[tokio::test]
async fn another_key_in_the_place_of_a_node_is_not_it() {
    let (a, b) = joined().await;
    let (c, _d) = joined().await;
    // b is told that a is where c is.
    let moved = Member { address: c.nodes.address(), ..b.nodes.member("a").unwrap() };
    b.nodes.inner.members.take_in(moved).unwrap();
    let error = b.nodes.connect("a").await.unwrap_err();
    assert!(error.what.contains("another key"), "{error}");
    // And a token of a that leads to c.
    let mut token: token::Token = a.invite().parse().unwrap();
    token.address = c.nodes.address().unwrap();
    c.invite();
    let error = b.join(&token.to_string()).await.unwrap_err();
    assert!(error.what.contains("not the node that gave the invitation"), "{error}");
}

#[tokio::test]
async fn names_are_kept_apart() {
    let (a, b) = joined().await;
    let other = Node::called("b", Services::default()).await;
    let token = a.invite();
    let error = other.join(&token).await.unwrap_err();
    assert!(error.kind == Kind::Conflict && error.what.contains("`b`"), "{error}");
    let rename = |name: &str| InitRequest { name: Some(name.to_owned()), listen: None };
    other.nodes.init(&rename("a")).await.unwrap();
    let error = other.join(&token).await.unwrap_err();
    assert!(error.kind == Kind::Conflict && error.what.contains("`a`"), "{error}");
    assert_eq!(a.refused(Why::JoinFailed), 2);
    // What failed has not used the invitation up.
    assert!(!other.nodes.init(&rename("c")).await.unwrap(), "it is not new");
    other.join(&token).await.unwrap();
    let error = other.nodes.init(&rename("d")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Conflict, "others know it as c: {error}");
    let error = a.join(&a.invite()).await.unwrap_err();
    assert!(error.kind == Kind::Usage && error.what.contains("itself"), "{error}");
    let known: Vec<String> =
        a.nodes.list().await.unwrap().nodes.into_iter().map(|n| n.member.name).collect();
    assert_eq!(known, ["b", "c"]);
    drop(b);
}

#[tokio::test]
async fn what_is_known_outlives_the_daemon_and_an_invitation_does_not() {
    let (a, b) = joined().await;
    let token = a.invite();
    let Node { nodes, folder, _stop } = a;
    let (key, address) = (nodes.own().unwrap().fingerprint(), nodes.address().unwrap());
    drop((nodes, _stop));
    let (stop, stopping) = watch::channel(false);
    let nodes = loop {
        // Its port is free once its listener has noticed.
        match Nodes::start(folder.path(), Some(address), Services::default(), stopping.clone()) {
            Ok(nodes) => break nodes,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let a = Node { nodes, folder, _stop: stop };
    assert_eq!(a.nodes.own().unwrap().fingerprint(), key);
    let list = b.nodes.list().await.unwrap();
    assert_eq!(list.nodes[0].state, NodeState::Reachable);
    let list = a.nodes.list().await.unwrap();
    assert_eq!(
        (list.nodes[0].member.name.as_str(), list.nodes[0].state),
        ("b", NodeState::Reachable)
    );
    assert!(b.join(&token).await.unwrap_err().what.contains("expired, was used"));
    assert_eq!(a.refused(Why::Uninvited), 1);
}

#[tokio::test]
async fn another_version_is_told_what_to_do() {
    let (a, b) = joined().await;
    let expected = a.nodes.own().unwrap().fingerprint();
    let identity = b.nodes.own().unwrap();
    let config = tls::client(&identity, Arc::new(move |seen| seen == expected), Purpose::Link);
    let address = a.nodes.address().unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config.unwrap()));
    let mut stream = connector.connect(ServerName::from(address.ip()), tcp).await.unwrap();
    let hello = protocol::read::<Hello>(&mut stream, LARGEST).await.unwrap().unwrap();
    assert_eq!(hello, Hello::ours());
    let later = Hello { version: 9, release: "9.0.0".to_owned() };
    protocol::write(&mut stream, &later).await.unwrap();
    let answer = protocol::read::<Answer<Value>>(&mut stream, LARGEST).await.unwrap().unwrap();
    let error = Result::from(answer).unwrap_err();
    assert!(error.what.contains("version 9") && error.cure.is_some(), "{error}");
    assert_eq!(a.refused(Why::Nonsense), 1);
}

#[tokio::test]
async fn it_may_listen_elsewhere_from_now_on_but_not_where_nothing_can() {
    let folder = tempfile::tempdir().unwrap();
    let (_stop, stopping) = watch::channel(false);
    let nodes = Nodes::start(folder.path(), None, Services::default(), stopping).unwrap();
    assert!(nodes.own().unwrap_err().cure.unwrap().contains("node init"));
    let listen = |address: &str| InitRequest {
        name: Some("a".to_owned()),
        listen: Some(address.parse().unwrap()),
    };
    // An address of documentation is no machine's; the node is not made by halves.
    let error = nodes.init(&listen("192.0.2.99:9311")).await.unwrap_err();
    assert!(error.what.contains("192.0.2.99:9311") && nodes.identity().is_none(), "{error}");
    assert_eq!(nodes.init(&listen("127.0.0.1:0")).await.unwrap_err().kind, Kind::Usage);
    nodes.init(&InitRequest { name: Some("a".to_owned()), listen: None }).await.unwrap();
    let request = InviteRequest { address: None, expires_seconds: 60.0 };
    assert!(nodes.invite(&request).unwrap_err().cure.unwrap().contains("--listen"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    nodes.init(&listen(&free.to_string())).await.unwrap();
    assert_eq!(nodes.address(), Some(free));
    assert!(TcpStream::connect(free).await.is_ok());
    assert!(nodes.invite(&request).is_ok());
    for expires_seconds in [0.0, -1.0, 1e9, f64::NAN] {
        let request = InviteRequest { address: None, expires_seconds };
        assert_eq!(nodes.invite(&request).unwrap_err().kind, Kind::Usage);
    }
}
