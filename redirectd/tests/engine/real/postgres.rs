//! PostgreSQL with a transaction that stays open.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::chown,
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Finished, Host, Process, soon};

use super::tour::{Pace, Tour};
use crate::scene::Scene;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// It refuses to run as root.
const NOBODY: u32 = 65534;
const AS_NOBODY: [&str; 5] =
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
/// A client that asks nothing and adds nothing to what the server says.
const PSQL: [&str; 9] =
    ["psql", "-X", "-q", "-A", "-t", "-h10.0.0.2", "-p7000", "-Upostgres", "-vON_ERROR_STOP=1"];

/// Starts a server with an empty table, in an IPC namespace of its own: it has
/// System V shared memory.
fn start<'a>(scene: &'a Scene, by: &[&str]) -> Result<Tour<'a>> {
    let data = scene.lan.home.dir().join("postgres");
    fs::create_dir(&data)?;
    chown(&data, Some(NOBODY), Some(NOBODY))?;
    let data = data.to_str().context("the lab's names are plain")?;
    let (initdb, postgres) = (format!("{PROGRAMS}/initdb"), format!("{PROGRAMS}/postgres"));
    let make = [&initdb, "--no-sync", "--no-instructions", "-Upostgres", "-Atrust", "--no-locale"];
    let home = &scene.home.machine;
    home.run(&[&AS_NOBODY[..], &make, &["-D", data]].concat())?.success()?;
    let access = "host all all 10.0.0.0/24 trust\n";
    fs::write(format!("{data}/pg_hba.conf"), access)?;
    let settings = [
        "-clisten_addresses=*",
        "-cport=7000",
        "-cunix_socket_directories=",
        "-cshared_buffers=16MB",
        "-cdynamic_shared_memory_type=mmap",
        "-cfsync=off",
    ];
    let server = [&postgres, "-D", data];
    let line = [by, &AS_NOBODY, &server, &settings].concat();
    let (tour, _) = Tour::of_server(scene, &line)?;
    ask(&scene.lan.peer, "CREATE TABLE kept (n int)")?;
    Ok(tour)
}

/// What a connection of its own is answered.
fn ask(host: &Host, what: &str) -> Result<String> {
    host.run(&[&PSQL[..], &["-c", what, "postgres"]].concat())
}

/// Inserts numbers as fast as goes, and compares what comes back.
fn insert(session: &mut Process, pace: &Pace) -> Result<u32> {
    todo!()
}
