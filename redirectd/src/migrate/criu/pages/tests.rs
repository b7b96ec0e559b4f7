//! Home gives, the host takes; what CRIU does on either side is played here.

use std::{fs, future::Future, os::fd::AsRawFd as _, path::Path};

use proptest::prelude::*;
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    net::UnixStream,
    runtime,
    sync::watch,
};

use super::{
    PAGE, PIECE, Progress, Range,
    frame::{Frame, PREAMBLE},
    give::{leave, open},
    server::{CLOSED, Command, LENGTH},
    take::run,
};
use crate::{error::Error, migrate::criu::images::file::Image};

/// The pages of the only process there is.
const PAGES: u64 = 5 * PIECE;
const PID: u32 = 7;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Images of a process that has left [`PAGES`] behind.
fn images(folder: &Path) {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Fields {
        #[prost(uint64, tag = "1")]
        first: u64,
        #[prost(uint32, tag = "2")]
        second: u32,
        #[prost(uint32, tag = "4")]
        flags: u32,
        #[prost(uint64, tag = "5")]
        fifth: u64,
    }
    let process = Fields { first: PID.into(), ..Fields::default() };
    fs::write(folder.join("pstree.img"), Image::Tree.image([process.encode_to_vec()])).unwrap();
    let pages = Fields { first: PAGE, flags: 2, fifth: PAGES, ..Fields::default() };
    let pagemap = Image::Pagemap.image([vec![], pages.encode_to_vec()]);
    fs::write(folder.join("pagemap-7.img"), pagemap).unwrap();
}

/// What a page has in it.
fn content(range: Range) -> Vec<u8> {
    (0..range.pages).flat_map(|page| [(range.address / PAGE + page) as u8; 4096]).collect()
}

fn range(page: u64, pages: u64) -> Range {
    Range { pid: PID, address: page * PAGE, pages }
}

/// CRIU at home: gives what it is asked for, but at most `most` pages at a time.
/// Tells what it was asked for.
async fn server(mut socket: UnixStream, most: u64) -> Vec<Range> {
    let mut asked = Vec::new();
    let mut command = [0; LENGTH];
    while socket.read_exact(&mut command).await.is_ok() {
        let Ok(Command::Get(range)) = Command::decode(&command) else { panic!("{command:?}") };
        asked.push(range);
        let given = Range { pages: range.pages.min(most), ..range };
        socket.write_all(&Command::Pages(given).encode()).await.unwrap();
        socket.write_all(&content(given)).await.unwrap();
    }
    asked
}

/// CRIU on the host: asks for `range`, and must get some of it.
async fn ask(socket: &mut UnixStream, range: Range) -> u64 {
    socket.write_all(&Command::Get(range).encode()).await.unwrap();
    let mut answer = [0; LENGTH];
    socket.read_exact(&mut answer).await.unwrap();
    let Ok(Command::Pages(given)) = Command::decode(&answer) else { panic!("{answer:?}") };
    assert!((1..=range.pages).contains(&given.pages), "{given:?}");
    let mut bytes = vec![0; given.bytes()];
    socket.read_exact(&mut bytes).await.unwrap();
    assert!(bytes == content(Range { pages: given.pages, ..range }), "{given:?} is wrong");
    given.pages
}

/// Everything, with `criu` as that of the host. Gives what home's was asked for.
fn carried<F: Future<Output = ()>>(
    most: u64,
    criu: impl FnOnce(UnixStream, watch::Receiver<Progress>) -> F,
) -> Vec<Range> {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    block_on(async {
        let (near, far) = duplex(1 << 16);
        let (source, mut stages, giver) = leave().unwrap();
        let served = open(source.socket.try_clone().unwrap()).unwrap();
        assert!(source.number() == source.socket.as_raw_fd());
        drop(source);
        let (ours, its) = UnixStream::pair().unwrap();
        let (mut read, mut write) = ours.into_split();
        let (gone, _) = watch::channel(Progress::default());
        let (come, progress) = watch::channel(Progress::default());
        stages.frozen(folder.path(), &[]).unwrap();
        stages.ended();
        let (given, taken, asked, ()) = tokio::join!(
            giver.give(near, &gone),
            run(far, &mut read, &mut write, &come),
            server(served, most),
            criu(its, progress),
        );
        given.unwrap();
        taken.unwrap();
        let expected = Progress { total: PAGES * PAGE, over: PAGES * PAGE, done: true };
        assert_eq!((*gone.borrow(), *come.borrow()), (expected, expected));
        asked
    })
}

#[test]
fn all_pages_go_over_without_being_asked_for() {
    let asked = carried(3, |mut criu, mut progress| async move {
        progress.wait_for(|now| now.done).await.unwrap();
        let mut page = 1;
        while page <= PAGES {
            page += ask(&mut criu, range(page, PAGES + 1 - page)).await;
        }
        // A child has the same pages.
        ask(&mut criu, range(1, 1)).await;
        criu.write_all(&Command::Close.encode()).await.unwrap();
        let mut closed = [9; 4];
        criu.read_exact(&mut closed).await.unwrap();
        assert_eq!(closed, CLOSED);
    });
    assert!(asked.len() as u64 >= PAGES / 3);
}

#[test]
fn what_is_asked_for_goes_before_what_is_next() {
    let asked = carried(PIECE, |mut criu, mut progress| async move {
        // The last of all, before anything has come but what is on its way.
        assert_eq!(ask(&mut criu, range(PAGES, 1)).await, 1);
        progress.wait_for(|now| now.done).await.unwrap();
        criu.write_all(&Command::Close.encode()).await.unwrap();
    });
    let place = asked.iter().position(|asked| *asked == range(PAGES, 1)).unwrap();
    assert!(place < asked.len() - 1, "{asked:?}");
}

/// What the host makes of what home sends.
fn taken(bytes: &[u8]) -> Result<(), Error> {
    block_on(async {
        let (mut near, far): (DuplexStream, DuplexStream) = duplex(1 << 20);
        near.write_all(bytes).await.unwrap();
        drop(near);
        // Kept, as CRIU would ask for more.
        let (ours, _its) = UnixStream::pair().unwrap();
        let (mut read, mut write) = ours.into_split();
        let (progress, _) = watch::channel(Progress::default());
        run(far, &mut read, &mut write, &progress).await
    })
}

#[test]
fn a_stream_that_is_cut_or_broken_is_refused() {
    let total = Frame::Total(2 * PAGE).encode();
    let pages = [Frame::Pages(range(1, 1)).encode(), vec![0; 4096]].concat();
    let stream = [&PREAMBLE[..], &total, &pages, &pages].concat();
    for length in [0, 7, 8, 12, 30, 4000, stream.len()] {
        let error = taken(&stream[..length]).unwrap_err().to_string();
        assert!(error.contains("was cut"), "{length} bytes: {error}");
    }
    let large = Frame::Pages(range(1, PIECE + 1)).encode();
    for (frame, why) in [
        (large, "a piece has 33 pages"),
        (Frame::Pages(range(1, 0)).encode(), "a piece has 0 pages"),
        (Frame::Over.encode(), "home sent Over"),
        (vec![9], "no frames of kind 9"),
    ] {
        let error = taken(&[&PREAMBLE[..], &frame].concat()).unwrap_err().to_string();
        assert!(error.contains(why), "{why:?} is not in {error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(0..7_u8, 0..64)) {
        prop_assert!(taken(&bytes).is_err());
        let stream = [&PREAMBLE[..], &bytes].concat();
        // Without the end, whatever comes is cut or broken.
        if !bytes.contains(&3) {
            prop_assert!(taken(&stream).is_err());
        }
    }
}

#[test]
fn a_process_that_was_not_ended_keeps_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    block_on(async {
        let (near, _far) = duplex(1 << 16);
        let (_source, mut stages, giver) = leave().unwrap();
        let (gone, _) = watch::channel(Progress::default());
        stages.frozen(folder.path(), &[]).unwrap();
        drop(stages);
        let told = giver.give(near, &gone).await.unwrap_err().to_string();
        assert!(told.contains("was not ended here"), "{told}");
        assert_eq!(gone.borrow().over, 0);
    });
}
