//! `redirect completions`, and what a shell is told when it asks.

use std::{env, ffi::OsStr, io, path::PathBuf, time::Duration};

use clap::Args;
use clap_complete::{CompletionCandidate, env::Shells};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::moves;
use crate::{
    api::{
        client::Client,
        moves::MoveList,
        nodes::NodeList,
        socket::{DEFAULT_PATH, PATH_VARIABLE},
        types::RedirectList,
    },
    error::{Error, Kind},
};

/// How long a shell's user waits for names at most.
const PATIENCE: Duration = Duration::from_millis(500);

/// The variable by which a shell asks this program for completions.
const ASK_VARIABLE: &str = "COMPLETE";

/// Print what makes a shell complete this command, names of redirects included
///
/// For bash: `redirect completions bash > /etc/bash_completion.d/redirect`
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Error> {
        let failed = |why: String| {
            Error::new(Kind::Failed, format!("cannot write completions for {}: {why}", self.shell))
        };
        let shells = Shells::builtins();
        let shell =
            shells.completer(&self.shell).ok_or_else(|| failed("unknown shell".to_owned()))?;
        shell
            .write_registration(ASK_VARIABLE, "redirect", "redirect", "redirect", &mut io::stdout())
            .map_err(|error| failed(error.to_string()))
    }
}

/// The names of the redirects there are that begin with `typed`; none when the
/// daemon does not answer at once.
pub(super) fn redirect_names(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let Some(RedirectList { redirects }) = ask("/v1/redirects") else { return Vec::new() };
    redirects
        .into_iter()
        .filter(|view| view.redirect.name.starts_with(typed))
        .map(|view| {
            let help = view.redirect.to_string();
            CompletionCandidate::new(view.redirect.name).help(Some(help.into()))
        })
        .collect()
}

/// The numbers of the moves there are that begin with `typed`; none when the
/// daemon does not answer at once.
pub(super) fn move_ids(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let Some(MoveList { moves }) = ask("/v1/moves") else { return Vec::new() };
    moves
        .iter()
        .filter(|moved| moved.id.to_string().starts_with(typed))
        .map(|moved| {
            let help = format!("{} {}", moved.state, moves::summary(moved));
            CompletionCandidate::new(moved.id.to_string()).help(Some(help.into()))
        })
        .collect()
}

/// The names of the nodes there are that begin with `typed`; none when the daemon,
/// which calls them, does not answer at once.
pub(super) fn node_names(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let Some(NodeList { nodes, .. }) = ask("/v1/nodes") else { return Vec::new() };
    let names = nodes.into_iter().map(|node| node.member.name);
    names.filter(|name| name.starts_with(typed)).map(CompletionCandidate::new).collect()
}

fn ask<T: DeserializeOwned>(path: &str) -> Option<T> {
    let client = Client::new(socket(env::args()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = async { timeout(PATIENCE, client.get(path)).await };
    runtime.block_on(answer).ok()?.ok()
}

/// The socket that the line to be completed names, or else the usual one.
fn socket(mut words: impl Iterator<Item = String>) -> PathBuf {
    while let Some(word) = words.next() {
        if word == "--socket" {
            if let Some(path) = words.next() {
                return path.into();
            }
        } else if let Some(path) = word.strip_prefix("--socket=") {
            return path.into();
        }
    }
    env::var_os(PATH_VARIABLE).unwrap_or(DEFAULT_PATH.into()).into()
}
