//! What is sent is received; what is not whole is refused.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use tokio::{io::duplex, runtime, sync::oneshot};

use super::{Sum, frame::Frame, receive::receive, send::Sender};
use crate::{error::Error, migrate::criu::images::file::Image};

/// More than any of these tests sends.
const MOST: u64 = 1 << 30;

/// Files by their names.
type Files = BTreeMap<String, Vec<u8>>;

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn write(folder: &Path, files: &Files) {
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

fn read(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn unchanged(image: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(image.to_vec())
}

fn files(pairs: &[(&str, &[u8])]) -> Files {
    pairs.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
}

/// The stream of these files.
fn stream(files: &Files) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    let mut stream = Vec::new();
    runtime().block_on(async {
        let sender = Sender::new(folder.path(), &mut stream).await.unwrap();
        sender.finish(unchanged).await.unwrap();
    });
    stream
}

/// What comes of a stream: the files, or why there are none.
fn received(mut stream: &[u8], most: u64) -> Result<(Sum, Files), Error> {
    let folder = tempfile::tempdir().unwrap();
    let sum = runtime().block_on(receive(&mut stream, folder.path(), most))?;
    Ok((sum, read(folder.path())))
}

#[test]
fn memory_goes_while_it_is_written_and_the_rest_readdressed() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pages = from.path().join("pages-1.img");
    // Holds less than a piece: the sender waits for the receiver.
    let (near, mut far) = duplex(1000);
    let (done, written) = oneshot::channel::<()>();
    let (sent, came) = runtime().block_on(async {
        let send = async {
            let mut sender = Sender::new(from.path(), near).await.unwrap();
            sender.follow(written).await.unwrap();
            sender.finish(|image| Ok([image, b" elsewhere"].concat())).await
        };
        let write = async {
            let mut file = fs::File::create(&pages).unwrap();
            for _ in 0..3 {
                file.write_all(&[7; 300_000]).unwrap();
                let came = || fs::metadata(to.path().join("pages-1.img")).map(|file| file.len());
                let length = file.metadata().unwrap().len();
                // It comes before anybody has said that all is written.
                while came().ok() != Some(length) {
                    tokio::task::yield_now().await;
                }
            }
            file.write_all(b"the last").unwrap();
            write_rest(from.path());
            done.send(()).unwrap();
        };
        let (sent, came, ()) = tokio::join!(send, receive(&mut far, to.path(), MOST), write);
        (sent.unwrap(), came.unwrap())
    });
    assert_eq!(sent, came);
    let mut expected = read(from.path());
    expected.remove("dump.log");
    expected.insert("files.img".into(), b"files elsewhere".to_vec());
    assert_eq!(sent.files, expected.len());
    assert_eq!(read(to.path()), expected);
}

fn write_rest(folder: &Path) {
    write(folder, &files(&[("files.img", b"files"), ("core-7.img", b""), ("dump.log", b"said")]));
}

#[test]
fn a_stream_that_is_cut_anywhere_is_refused() {
    let stream = stream(&files(&[("files.img", b"files"), ("core-7.img", b"core")]));
    for length in 0..stream.len() {
        let error = received(&stream[..length], MOST).unwrap_err().to_string();
        assert!(error.contains("was cut"), "{length} bytes: {error}");
    }
}

#[test]
fn too_much_is_refused() {
    let stream = stream(&files(&[("files.img", &[1; 600])]));
    assert_eq!(received(&stream, 600).unwrap().0, Sum { files: 1, bytes: 600 });
    let error = received(&stream, 599).unwrap_err().to_string();
    assert!(error.contains("more than 599 bytes") && error.contains("cure: "), "{error}");
}

#[test]
fn a_file_outside_of_the_folder_is_refused() {
    let preamble = &stream(&files(&[("files.img", b"")]))[..8];
    for name in ["../x.img", "/etc/x", ".", "..", ".x", "", "a/b", "a\0b", "ä.img"] {
        let frame = Frame::Chunk { name: name.to_owned(), length: 0 }.encode();
        let error = received(&[preamble, &frame].concat(), MOST).unwrap_err().to_string();
        assert!(error.contains("no image has the name"), "{name:?}: {error}");
    }
}

#[test]
fn a_folder_that_is_no_rounds_is_refused() {
    let preamble = &stream(&files(&[("files.img", b"")]))[..8];
    let names =
        ["0/x", "10/x", "01/x", "+1/x", "parent/x", "1/", "1//x", "1/2/x", "1/../x", "1/.x"];
    for name in names {
        let frame = Frame::Chunk { name: name.to_owned(), length: 0 }.encode();
        let error = received(&[preamble, &frame].concat(), MOST).unwrap_err().to_string();
        assert!(error.contains("no image has the name"), "{name:?}: {error}");
    }
}

/// A folder of images with those of `rounds`.
fn with_rounds(rounds: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &files(&[("files.img", b"files"), ("pages-1.img", b"last")]));
    for round in rounds {
        fs::create_dir(folder.path().join(round)).unwrap();
        let name = format!("{round}/pages-1.img");
        write(folder.path(), &files(&[(&name, name.as_bytes())]));
    }
    folder
}

#[test]
fn rounds_arrive_each_linked_to_the_one_before() {
    let (from, to) = (with_rounds(&["1", "2", "3"]), tempfile::tempdir().unwrap());
    // CRIU's own links are of the machine that it wrote on.
    std::os::unix::fs::symlink("/etc", from.path().join("parent")).unwrap();
    let (near, mut far) = duplex(1000);
    let (sent, came) = runtime().block_on(async {
        let sender = Sender::new(from.path(), near).await.unwrap();
        tokio::join!(sender.finish(unchanged), receive(&mut far, to.path(), MOST))
    });
    assert_eq!((sent.unwrap().files, came.unwrap().files), (5, 5));
    for (way, content) in [
        ("pages-1.img", "last"),
        ("parent/pages-1.img", "3/pages-1.img"),
        ("3/parent/pages-1.img", "2/pages-1.img"),
        ("2/parent/pages-1.img", "1/pages-1.img"),
    ] {
        assert_eq!(fs::read_to_string(to.path().join(way)).unwrap(), content, "{way}");
    }
    assert!(!to.path().join("1/parent").exists());
}

/// And no more than those: another folder is none of the engine's.
#[test]
fn as_many_rounds_arrive_as_there_may_be() {
    let all = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    let (from, to) = (with_rounds(&all), tempfile::tempdir().unwrap());
    let mut stream = Vec::new();
    runtime().block_on(async {
        let sender = Sender::new(from.path(), &mut stream).await.unwrap();
        sender.finish(unchanged).await.unwrap();
        receive(&mut &stream[..], to.path(), MOST).await.unwrap();
    });
    let folders = fs::read_dir(to.path()).unwrap().map(Result::unwrap);
    let mut folders: Vec<_> = folders
        .filter(|entry| entry.metadata().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, all[..9]);
    let last = fs::read_to_string(to.path().join("parent/pages-1.img")).unwrap();
    assert_eq!(last, "9/pages-1.img");
}

#[test]
fn a_round_that_is_left_out_is_missed() {
    let (from, to) = (with_rounds(&["1", "3"]), tempfile::tempdir().unwrap());
    let mut stream = Vec::new();
    let came = runtime().block_on(async {
        let sender = Sender::new(from.path(), &mut stream).await.unwrap();
        sender.finish(unchanged).await.unwrap();
        receive(&mut &stream[..], to.path(), MOST).await
    });
    let error = came.unwrap_err().to_string();
    assert!(error.contains("only the rounds {1, 3}"), "{error}");
}

#[test]
fn files_that_do_not_add_up_are_refused() {
    let preamble = &stream(&files(&[("files.img", b"")]))[..8];
    let chunk = |name: &str, length| Frame::Chunk { name: name.into(), length }.encode();
    let end =
        |name: &str, length, checksum| Frame::File { name: name.into(), length, checksum }.encode();
    let all = |files| Frame::End { files }.encode();
    for (frames, why) in [
        (vec![all(1)], "0 files of 1"),
        (vec![chunk("x", 0), all(0)], "has no end"),
        (vec![end("x", 0, 0), end("x", 0, 0)], "ends twice"),
        (vec![end("x", 0, 0), chunk("x", 0)], "after its end"),
        (vec![end("x", 1, 0)], "not what was sent"),
        (vec![end("x", 0, 1)], "not what was sent"),
        (vec![chunk("x", 1 << 20)], "has 1048576 bytes"),
        (vec![vec![9, 0]], "no frames of kind 9"),
        (vec![Frame::Frozen.encode(), all(0)], "what is for home has come here"),
    ] {
        let stream = [preamble, &frames.concat()].concat();
        let error = received(&stream, MOST).unwrap_err().to_string();
        assert!(error.contains(why), "{why:?} is not in {error}");
    }
}

/// However long it takes until the images are sent.
#[test]
fn connections_arrive_with_their_clocks_put_forward() {
    let image = |clock: &[u8]| {
        let record = [&[0x08, 1, 0x48][..], clock].concat();
        [Image::Stream.image([record]), b"queue".to_vec()].concat()
    };
    let folder = tempfile::tempdir().unwrap();
    let written = SystemTime::now() - Duration::from_secs(1000);
    for (name, bytes) in [("tcp-stream-1f.img", image(&[0])), ("files.img", b"files".to_vec())] {
        fs::write(folder.path().join(name), bytes).unwrap();
        let file = fs::File::options().write(true).open(folder.path().join(name)).unwrap();
        file.set_modified(written).unwrap();
    }
    let mut stream = Vec::new();
    runtime().block_on(async {
        let sender = Sender::new(folder.path(), &mut stream).await.unwrap();
        sender.finish(unchanged).await.unwrap();
    });
    let (sum, files) = received(&stream, MOST).unwrap();
    assert_eq!(sum.files, 2);
    let arrived = &files["tcp-stream-1f.img"];
    // 1,001 s or a little more, in three bytes of seven bits.
    let expected = image(&[0, 0, 61]);
    assert_eq!(arrived.len(), expected.len());
    let place = 8 + 4 + 3;
    assert_eq!(arrived[..place], expected[..place]);
    assert_eq!(arrived[place + 3..], expected[place + 3..]);
    let clock = arrived[place..place + 3].iter().rev();
    let clock = clock.fold(0, |clock, byte| clock << 7 | u64::from(byte & 0x7f));
    assert!(clock >= 1_001_000, "{clock}");
}

proptest! {
    #[test]
    fn what_is_sent_is_received(
        images in prop::collection::btree_map("[a-z]{1,8}-[0-9]{1,3}\\.img", any::<Vec<u8>>(), 0..5),
        open_files: Vec<u8>,
    ) {
        let mut images = images;
        images.insert("files.img".into(), open_files);
        let (sum, files) = received(&stream(&images), MOST).unwrap();
        prop_assert_eq!(sum.bytes, images.values().map(|bytes| bytes.len() as u64).sum::<u64>());
        prop_assert_eq!(files, images);
    }

    #[test]
    fn a_damaged_stream_is_refused(place: prop::sample::Index, bit in 0..8u32) {
        let mut stream = stream(&files(&[("files.img", b"files"), ("core-7.img", b"core")]));
        let place = place.index(stream.len());
        stream[place] ^= 1 << bit;
        prop_assert!(received(&stream, MOST).is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(received(&bytes, MOST).is_err());
        let preamble = b"rdimage\x01";
        let _ = received(&[&preamble[..], &bytes].concat(), MOST);
    }
}
