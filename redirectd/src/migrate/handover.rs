//! What nodes say to each other while a process goes from one to another. Home
//! leads: it talks to the machine that the process leaves, the *source*, and to the
//! one it goes to, the *destination*, and passes the images on. Either of these may
//! be home itself.
//!
//! 1. Home asks the destination for an [`OFFER`], before anything is frozen; and a
//!    source elsewhere for the process's [`INVENTORY`].
//! 2. Home opens a stream to [`ARRIVE`] at the destination, then one to [`DEPART`] at
//!    the source. That freezes the process and says [`Leaving::Frozen`]; home has the
//!    packets held, and says [`Order::Proceed`].
//! 3. The images ([`stream`]) go to the destination while the source writes them, then
//!    [`Leaving::Written`] comes to home, and the [`Belongings`] go to the destination.
//! 4. The destination says [`Told::Received`], and revives the process, still silent:
//!    [`Told::Revived`].
//! 5. Home says [`Order::End`], the source ends its copy: [`Leaving::Gone`].
//! 6. Home commits the move, and says [`Word::Go`]; the destination lets the process
//!    run. As soon as that cannot fail any more it says [`Told::Standing`], and home delivers
//!    what it holds; then [`Told::Running`]. Home says [`Word::Heard`], and [`Order::Forget`]
//!    to the source.
//!
//! Where memory goes ahead of the process, the images begin to go in step 2, while it runs;
//! that it is frozen is said by a frame among them, in place of [`Leaving::Frozen`]. What
//! goes wrong before that leaves it as it is: nothing is held yet.
//!
//! Where memory follows the process, home opens a second stream ([`PAGES`]) to each side
//! in step 2, and passes on what comes. Steps 5 and 6 are these:
//!
//! 5. Home says [`Order::Yield`]: from [`Leaving::Yielded`] on, the source lets the frozen
//!    process run only if home's journal says so.
//! 6. Home commits the move, and says [`Order::End`]: [`Leaving::Gone`]. The pages go.
//! 7. Home says [`Word::Go`]: [`Told::Standing`], [`Told::Running`], and then [`Told::Follows`], until
//!    [`Told::Whole`]. The source has [`Leaving::Emptied`] all.
//!
//! The destination asks for no fate before it lets the process run: without home there is no
//! memory, and the process ends. So it does whenever its memory does not come. Only then it asks
//! whether the process was its own, and nobody has it any more: peers hear a reset ([`lost`]).
//!
//! Until the commit the process is the source's. What goes wrong before step 5
//! leaves it running there, as if nothing had been. Whoever waits for a word in
//! steps 5 and 6 that does not come, as the connection broke or the other side was
//! killed, asks home's journal for the move's [`FATE`], again and again: the
//! destination lets the process run if the move is committed, and ends its copy if
//! it is aborted; the source revives its copy, and has home abort the move
//! ([`SETTLE`]) before that may speak, or forgets it if the move is committed. A destination
//! that is not [`Word::Heard`] has home [`DELIVER`] what it holds, which home does anyhow when
//! the move's time is up.
//!
//! Who dies is dead to the others when its connection ends, or, where only the link
//! is cut, some seconds after that. What it had in hand is told by the [`papers`] beside
//! the images: redirectd on that machine takes it up ([`takeover`]), if it was itself
//! as soon as it is started again. A move whose leader has died is aborted by home's
//! redirectd, if it is not committed: at once while nothing is held, as where memory goes
//! ahead, else when CRIU has let go of the process. Where the source has fallen silent, or was told to
//! end the process and does not answer, home waits for it, packets held, until the
//! move's time is up. A CRIU that was killed leaves [`remnants`], which are cleared.
//!
//! What remains: a source whose CRIU was killed between the freeze and the end of the
//! dump runs on, but if it uses its connections at once, before these are mended, it
//! is told that it may not. If home's redirectd dies after the source was told to end
//! the process, what is held is delivered to sockets that end; such connections may
//! be lost.
//!
//! [`lost`]: super::criu::lost
//! [`stream`]: super::criu::stream
//! [`papers`]: super::papers
//! [`takeover`]: super::takeover
//! [`remnants`]: super::criu::remnants

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    criu::{Features, datagrams::Datagram, pages::Progress, sockopts::Kept},
    memory,
    record::Id,
};
use crate::{error::Error, process::Offer};

/// What nodes call the service.
pub const SERVICE: &str = "migrate";

/// The request for [`Welcome`], with [`crate::process::Needs`].
pub const OFFER: &str = "offer";

/// The request for the [`crate::process::Inventory`] of a guest, by its id.
pub const INVENTORY: &str = "inventory";

/// The request for the ids of the guests that are the asking node's.
pub const GUESTS: &str = "guests";

/// The purpose of the stream that a process leaves by, with its [`Passage`].
pub const DEPART: &str = "depart";

/// The purpose of the stream that a process comes over, with its [`Passage`].
pub const ARRIVE: &str = "arrive";

/// The purpose of the stream that memory follows a process over, with its [`Passage`]:
/// opened after the one to [`DEPART`] or [`ARRIVE`].
pub const PAGES: &str = "pages";

/// The request to home for what became of a move, by its number: a
/// [`super::machine::MoveState`]. Home answers it, [`SETTLE`] and [`DELIVER`] to the nodes
/// that the process leaves and goes to, and to nobody else.
pub const FATE: &str = "fate";

/// The request to home to deliver what it holds for the process of a move, which is committed:
/// it stands at the destination, or never will. Answered by whether nothing had been delivered
/// before.
pub const DELIVER: &str = "deliver";

/// The request to home to abort a move, unless it is committed: what it is then.
pub const SETTLE: &str = "settle";

/// A connection of bytes in both directions: a stream between nodes, or one within
/// this program.
pub trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// One of any kind.
pub type Way = Box<dyn Bytes>;

/// Which process goes, and by which move of home's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Its root, by the number that it keeps everywhere.
    pub pid: i32,
    /// What the kernel calls it.
    pub name: String,
    /// The number of the move in home's journal.
    pub r#move: Id,
    /// How its memory goes.
    #[serde(default)]
    pub memory: memory::Way,
}

/// What the destination has for a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// The machine, and what of the needs is there.
    pub offer: Offer,
    /// Why its redirectd may revive no processes.
    pub refusal: Option<Error>,
    /// What its CRIU can do, if that is known.
    #[serde(default)]
    pub features: Option<Features>,
    /// The bytes of images that it has room for, if that is known.
    #[serde(default)]
    pub room: Option<u64>,
}

/// What is known of the processes once they are written down, and not in the images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// All of them.
    pub pids: Vec<i32>,
    /// Options of sockets that CRIU forgets, for each process.
    pub options: Vec<(i32, Vec<Kept>)>,
    /// Datagrams that nobody has read yet, by their names at the source.
    pub waiting: Vec<Datagram>,
}

/// The same on its way to the destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongings {
    /// Options of sockets that CRIU forgets, for each process.
    pub options: Vec<(i32, Vec<Kept>)>,
    /// Datagrams that nobody has read yet, by their names at the destination.
    pub datagrams: Vec<Datagram>,
}

/// How far memory is that follows a process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follows {
    /// What was left behind; 0 until that is known.
    pub total: u64,
    /// What of it has come.
    pub over: u64,
}

impl Follows {
    /// What is still where it was; none if that is not known yet.
    #[must_use]
    pub fn behind(self) -> Option<u64> {
        (self.total > 0).then(|| self.total.saturating_sub(self.over))
    }
}

impl From<Progress> for Follows {
    fn from(Progress { total, over, .. }: Progress) -> Self {
        Self { total, over }
    }
}

/// What the source says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leaving {
    /// The processes are frozen, nothing is written.
    Frozen,
    /// All images have been sent.
    Written(Remains),
    /// They stay frozen, and are the destination's once the move is committed.
    Yielded,
    /// They are ended here.
    Gone,
    /// All of their memory is over: nothing of them is left here.
    Emptied,
    /// They run on here; why.
    Stays(Error),
    /// They were ended, and run again here.
    Back,
    /// They were ended, and cannot be revived, or their memory cannot go over; why.
    Lost(Error),
}

/// What home says to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Packets are held: write all down.
    Proceed,
    /// It is revived at the destination, and its memory is to follow: keep it frozen
    /// until home says whose it is.
    Yield,
    /// It is revived at the destination: end it here.
    End,
    /// It stays; at any time before [`Order::End`].
    Stay,
    /// The move is committed: its images are of no more use.
    Forget,
    /// The move could not be committed: see what became of it, and revive the
    /// process.
    Revive,
}

/// What the destination says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// All images and belongings are there; nothing is revived yet.
    Received,
    /// All is revived, and waits for the word.
    Revived,
    /// It stands: its sockets speak, and it will run. What is held may come.
    Standing,
    /// It runs.
    Running {
        /// What it has lost on the way, one line each.
        lost: Vec<String>,
    },
    /// It runs, and so many bytes of its memory have come.
    Follows(Follows),
    /// All of its memory is here; so much has come.
    Whole(Follows),
    /// There is nothing of it here.
    Failed(Error),
}

/// What home says to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The process is the destination's: let it run.
    Go,
    /// It was heard that it runs, and what was held is delivered.
    Heard,
    /// It stays at the source.
    Never,
}
