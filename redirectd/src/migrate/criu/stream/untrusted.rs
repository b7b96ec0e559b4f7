//! What holds of a stream of images whatever its bytes are. The property tests
//! here and the fuzz target `stream` of `redirectd/fuzz` run the same function.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::runtime::Builder;

use super::{
    frame::{PREAMBLE, is_name, round},
    receive::receive,
};
use crate::migrate::criu::precopy::PARENT;

/// The most bytes that are taken.
const MOST: u64 = 4096;

/// A folder of our own, on a tmpfs if there is one, that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let shm = Path::new("/dev/shm");
        let place = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let path = place.join(format!("redirectd-untrusted-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("images")).expect("a folder can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Receives `bytes`, and what they are behind the beginning that a stream has.
///
/// # Panics
/// When something does not hold.
pub fn stream(bytes: &[u8]) {
    received(bytes);
    received(&[&PREAMBLE[..], bytes].concat());
}

/// Whatever comes of it: nothing is written but images in the folder, no more than
/// are taken, and as many as are told.
fn received(mut bytes: &[u8]) {
    let folder = Folder::new();
    let images = folder.0.join("images");
    let runtime = Builder::new_current_thread().build().expect("a runtime can be made");
    let came = runtime.block_on(receive(&mut bytes, &images, MOST));
    assert_eq!(entries(&folder.0).len(), 1, "something was written outside of the folder");
    let mut written = Written::default();
    written.look(&images, "");
    assert!(written.length <= MOST, "{} bytes were written", written.length);
    if let Ok(sum) = came {
        assert_eq!((sum.files, sum.bytes), (written.files, written.length));
        assert_eq!(written.links, written.rounds, "each round is another folder's parent");
    }
}

fn entries(folder: &Path) -> Vec<fs::DirEntry> {
    fs::read_dir(folder).expect("it is there").map(Result::unwrap).collect()
}

/// What was written.
#[derive(Default)]
struct Written {
    files: usize,
    length: u64,
    rounds: usize,
    links: usize,
}

impl Written {
    /// Looks at the images in `folder`, whose names begin with `prefix`.
    fn look(&mut self, folder: &Path, prefix: &str) {
        for entry in entries(folder) {
            let file = entry.file_name().into_string().expect("its name is plain");
            let name = format!("{prefix}{file}");
            // Not what a link leads to.
            let metadata = entry.metadata().expect("it is there");
            if metadata.is_dir() {
                assert!(prefix.is_empty() && round(&file).is_some(), "{name}");
                self.rounds += 1;
                self.look(&entry.path(), &format!("{name}/"));
            } else if metadata.is_symlink() {
                let to = fs::read_link(entry.path()).expect("it is a link");
                let to = to.to_str().expect("it is plain");
                let folder = if prefix.is_empty() { Some(to) } else { to.strip_prefix("../") };
                assert!(file == PARENT && folder.and_then(round).is_some(), "{name} -> {to}");
                self.links += 1;
            } else {
                assert!(metadata.is_file() && is_name(&name), "{name}");
                self.files += 1;
                self.length += metadata.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crc32fast::hash;
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::{super::frame::Frame, *};

    /// A stream of some images, without its beginning.
    fn whole() -> Vec<u8> {
        let images = [
            ("1/pages-1.img", &b"pages"[..]),
            ("2/pages-1.img", b"page"),
            ("files.img", b"files"),
            ("core-7.img", b"core"),
        ];
        let mut bytes = Vec::new();
        for (name, content) in images {
            let name = name.to_owned();
            let (length, checksum) = (content.len(), hash(content));
            bytes.extend(Frame::Chunk { name: name.clone(), length }.encode());
            bytes.extend_from_slice(content);
            bytes.extend(Frame::File { name, length: length as u64, checksum }.encode());
        }
        bytes.extend(Frame::End { files: 4 }.encode());
        bytes
    }

    #[test]
    fn it_holds_of_nothing_and_of_what_is_sent() {
        stream(&[]);
        stream(&whole());
    }

    proptest! {
        #[test]
        fn it_holds_of_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
            stream(&bytes);
        }

        /// With some bytes changed, left out or put in.
        #[test]
        fn it_holds_of_what_is_nearly_right(
            changes in vec((any::<Index>(), any::<u8>(), 0..3), 1..5),
        ) {
            let mut bytes = whole();
            for (place, byte, how) in changes {
                let place = place.index(bytes.len());
                match how {
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    _ => drop(bytes.remove(place)),
                }
            }
            stream(&bytes);
        }
    }
}
