//! PostgreSQL with a transaction that stays open.

use std::{fs, io::Write as _, os::unix::fs::chown, process::ChildStdin, time::Duration};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Host, Process, soon};

use super::{
    rustc::compile,
    tour::{Pace, Tour, said},
};
use crate::scene::Scene;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// It refuses to run as root.
const NOBODY: u32 = 65534;
/// Has root taken for [`NOBODY`] by the program itself: CRIU reads the limits of
/// other users' processes only with `CAP_SYS_RESOURCE`, which root has not everywhere.
const DISGUISE: &str = "
#[unsafe(no_mangle)]
extern \"C\" fn getuid() -> u32 { 65534 }
#[unsafe(no_mangle)]
extern \"C\" fn geteuid() -> u32 { 65534 }
";
const AS_NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
/// A client that asks nothing and adds nothing to what the server says.
const PSQL: [&str; 9] =
    ["psql", "-X", "-q", "-A", "-t", "-h10.0.0.2", "-p7000", "-Upostgres", "-vON_ERROR_STOP=1"];

/// So many numbers are inserted at a time.
const BATCH: u32 = 40;
/// So often others look on each machine.
const LOOKS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a server with an empty table, by the programs `by`.
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
    let line = [by, &server, &settings].concat();
    let (tour, log) = Tour::of_server(scene, &line)?;
    // It listens before that.
    let ready = || said(&log).contains("ready to accept connections").then_some(());
    soon("it is ready", ready).with_context(|| said(&log))?;
    ask(&scene.lan.peer, "CREATE TABLE kept (n int)")?;
    Ok(tour)
}

/// The words that put [`DISGUISE`] on.
fn disguise(scene: &Scene) -> Result<String> {
    let library = scene.lan.home.dir().join("disguise.so");
    compile(DISGUISE, &["--crate-type=cdylib", "-Cpanic=abort"], &library)?;
    Ok(format!("LD_PRELOAD={}", library.display()))
}

/// What a connection of its own is answered.
fn ask(host: &Host, what: &str) -> Result<String> {
    host.run(&[&PSQL[..], &["-c", what, "postgres"]].concat())
}

/// Inserts numbers in one transaction until the tour is over, as fast as the
/// answers come. Tells how many.
fn insert(keyboard: &mut ChildStdin, session: &Process, pace: &Pace) -> Result<u32> {
    writeln!(keyboard, "BEGIN;")?;
    let mut count = 0;
    while !pace.is_over() {
        for _ in 0..BATCH {
            count += 1;
            writeln!(keyboard, "INSERT INTO kept VALUES ({count}) RETURNING n;")?;
        }
        // The next ones are on their way before all of these are answered.
        let expected = numbers(count - BATCH / 2);
        soon("numbers are inserted", || session.log().starts_with(&expected).then_some(()))
            .with_context(|| session.log())?;
        pace.add(u64::from(BATCH));
    }
    writeln!(keyboard, "COMMIT;")?;
    Ok(count)
}

/// The lines from 1 on.
fn numbers(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

#[test]
fn an_open_transaction() -> Result<()> {
    let scene = Scene::new()?;
    let disguise = disguise(&scene)?;
    // It has System V shared memory.
    let mut tour = start(&scene, &["unshare", "--ipc", "env", &disguise])?;
    let mut session = scene.lan.peer.start(&[&PSQL[..], &["postgres"]].concat())?;
    let mut keyboard = session.stdin();
    let mut count = 0;
    let insert = |pace: &Pace| insert(&mut keyboard, &session, pace).map(|all| count = all);
    // Connections, and processes, of their own; the transaction is open.
    let look = |pace: &Pace| {
        for leg in 0.. {
            for _ in 0..LOOKS {
                let seen = ask(&scene.lan.peer, "SELECT count(*) FROM kept")?;
                ensure!(seen == "0\n" || pace.is_over(), "others see {seen}");
                pace.add(u64::from(BATCH));
            }
            if !pace.reaches(leg + 1) {
                break;
            }
        }
        Ok(())
    };
    tour.go(u64::from(LOOKS * BATCH), vec![Box::new(insert), Box::new(look)])?;
    drop(keyboard);
    session.wait(PATIENCE)?;
    ensure!(session.log() == numbers(count), "{}", session.log());
    ensure!(ask(&scene.lan.peer, "SELECT n FROM kept ORDER BY n")? == numbers(count));
    Ok(())
}

/// Its System V shared memory could be others' as well.
#[test]
fn without_an_ipc_namespace_it_is_refused() -> Result<()> {
    let scene = Scene::new()?;
    let disguise = disguise(&scene)?;
    let tour = start(&scene, &["env", &disguise])?;
    refused(&scene, tour, &["System V shared memory", "cure: ", "an IPC namespace of its own"])
}

/// And it goes on at home.
fn refused<'a>(scene: &'a Scene, mut tour: Tour<'a>, because: &[&str]) -> Result<()> {
    let told = tour.move_to(&scene.c).unwrap_err().to_string();
    for part in because {
        ensure!(told.contains(part), "{part:?} is not in {told}");
    }
    ensure!(ask(&scene.lan.peer, "SELECT count(*) FROM kept")? == "0\n");
    Ok(())
}
