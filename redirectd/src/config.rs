//! YAML → configuration: the main file, the files in `rules.d` beside it, and
//! single redirects as people write them.
//!
//! Nothing outside this module knows YAML. What a redirect may be is decided in
//! [`crate::rule`]; this module turns words into redirects and finds the place
//! of whatever is wrong. The way of a file: `read` as `text` (what was written) →
//! `assemble` with `settings`, `hosts` and `spec` (what it means) → [`Config`].
//! Only when something is wrong is the file read a second time, by `tree` with
//! the place of every node, for `shape` and `report` to say where.

mod assemble;
mod endpoint;
mod files;
mod hosts;
mod read;
mod report;
mod resolve;
mod retarget;
mod settings;
mod shape;
mod spec;
mod suggest;
#[cfg(test)]
mod tests;
mod text;
mod tree;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

pub use self::{
    endpoint::names_ports,
    hosts::{Host, Hosts},
    resolve::{unresolved_host, unresolved_target},
    retarget::retarget,
    spec::redirects_from,
    text::Spec,
};
use crate::{
    dataplane::{Attach, Timers},
    error::Error,
    rule::{PortRange, Redirect},
};

/// The version of the file format that this program reads.
pub const VERSION: u32 = 1;

/// Everything the files say, checked together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Home addresses: what a redirect that gives only ports means.
    pub home: Vec<IpAddr>,
    /// Hosts by name.
    pub hosts: Hosts,
    /// Interfaces that the programs are put on, and how.
    pub interfaces: BTreeMap<String, Attach>,
    /// Ports that home uses towards hosts where the peer's own is taken.
    pub snat_ports: PortRange,
    /// Idle timers of flows.
    pub timers: Timers,
    /// Sizes of the kernel's tables.
    pub tables: Tables,
    /// Where the daemon is spoken to, and by whom.
    pub api: ApiConfig,
    /// Where Prometheus reads metrics: a loopback address, or nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where other nodes call: an address of this machine, all, or nowhere.
    pub node_listen: Option<SocketAddr>,
    /// The redirects of all files, in the order of the files; valid, and without
    /// contradictions among each other.
    pub redirects: Vec<Redirect>,
    /// What is allowed but hardly wanted; one line each, with its place.
    pub warnings: Vec<String>,
}

/// Sizes of the kernel's tables, in entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// Redirects, draining ones included.
    pub redirects: u32,
    /// Established flows, over both families together.
    pub flows: u32,
    /// Half-open flows of each family.
    pub half_open: u32,
    /// Packets held for processes that are being moved, in MiB.
    pub held_mib: u32,
}

/// Where the daemon is spoken to, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The group that may speak to it besides root.
    pub group: Option<String>,
}

/// Reads the main file at `path` and `rules.d/*.yaml` and `*.yml` beside it, in
/// the order of their names, and checks them together.
///
/// # Errors
/// A file cannot be read, or something in the files is wrong; everything that is
/// wrong is said at once, each with file, line, column and cure.
pub fn load(path: &Path) -> Result<Config, Error> {
    assemble::config(&files::read_all(path)?)
}

/// Reads redirects in the form of a `rules.d` file: `version`, `hosts`,
/// `redirects`. Hosts of the file are added to `hosts` for it alone; `home` is
/// what a redirect that gives only ports means. `source` names the text in
/// errors.
///
/// # Errors
/// As for [`load`].
pub fn parse_rules(
    text: &str,
    source: &str,
    hosts: &Hosts,
    home: &[IpAddr],
) -> Result<Vec<Redirect>, Error> {
    assemble::rules(&files::Source::new(source, text.as_bytes())?, hosts, home)
}
