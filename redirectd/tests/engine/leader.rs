//! Who leads a move is watched, wherever it runs.

use anyhow::{Result, ensure};
use xtask::lab::soon;

use crate::nodes::Two;

/// Begins a move that is not to outlive it, by the socket that is named.
const LEADER: &str = "\
import json, socket, sys, time
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
body = json.dumps({'redirects': ['web'], 'to': 'c', 'led': True})
head = f'POST /v1/moves HTTP/1.1\\r\\nHost: home\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n'
link.sendall((head + body).encode())
print(link.recv(65536).decode(), flush=True)
time.sleep(600)";

/// In a PID namespace that home's daemon does not see.
#[test]
fn one_of_another_pid_namespace_is_missed_when_it_dies() -> Result<()> {
    let two = Two::joined()?;
    two.daemon.redirect(&["add", "web", "80", "--to", "home", "--no-check"])?;
    let socket = two.daemon.socket().display().to_string();
    let mut leader = two.home.host().start(&["python3", "-c", LEADER, &socket])?;
    leader.wait_for_log("\"prepared\"")?;
    ensure!(two.moves()?[0]["state"] == "prepared", "{:?}", two.moves()?);
    leader.kill()?;
    let aborted = || two.moves().ok()?.pop().filter(|moved| moved["state"] == "aborted");
    let moved = soon("the move is aborted", aborted)?;
    ensure!(moved["why"] == "whoever moved the process has died", "{moved:#}");
    Ok(())
}
