//! Small files that are replaced whole or not at all, that survive a loss of
//! power, and that nobody but their owner may read.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{Error, Kind};

/// The form of these files; a daemon refuses any other.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a, T> {
    version: u32,
    #[serde(flatten)]
    contents: &'a T,
}

/// Enough of a file to say that it is of another version.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// What the file at `path` holds; none if it is not there.
///
/// # Errors
/// It cannot be read, is damaged, of another version, or open to others.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let failed = |what: String| Error::new(Kind::Failed, format!("{} {what}", path.display()));
    let damaged =
        |why: &serde_json::Error| failed(format!("is damaged: {why}")).cure("put a good copy back");
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot be read: {error}"))),
    };
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.mode() & 0o777);
    if mode & 0o077 != 0 {
        return Err(failed(format!("is open to others than its owner (mode {mode:o})"))
            .cure(format!("`chmod 600 {}`, once you know who may have read it", path.display())));
    }
    let Version { version } = serde_json::from_slice(&text).map_err(|why| damaged(&why))?;
    if version != VERSION {
        let what = format!("has version {version}, this redirectd knows version {VERSION}");
        return Err(failed(what).cure("run the redirectd that wrote it"));
    }
    serde_json::from_slice(&text).map(Some).map_err(|why| damaged(&why))
}

/// Makes `contents` all that the file at `path` holds; its folder is made if it is
/// not there.
///
/// # Errors
/// It cannot be written; what was there is there still.
pub(crate) fn replace<T: Serialize>(path: &Path, contents: &T) -> Result<(), Error> {
    write(path, contents).map_err(|error| {
        Error::new(Kind::Failed, format!("cannot write {}: {error}", path.display()))
            .cure("make room on that file system, or make it writable, and repeat")
    })
}

fn write<T: Serialize>(path: &Path, contents: &T) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(&Written { version: VERSION, contents })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let next = path.with_extension("new");
    let put = put(&next, &text).and_then(|()| fs::rename(&next, path));
    if put.is_err() {
        // Half of it takes room that others may want.
        let _ = fs::remove_file(&next);
    }
    put.and_then(|()| File::open(folder)?.sync_all())
}

fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Contents {
        word: String,
    }

    #[test]
    fn contents_are_kept_from_others_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/file.json");
        assert_eq!(read::<Contents>(&path).unwrap(), None);
        for word in ["first", "second"] {
            let contents = Contents { word: word.to_owned() };
            replace(&path, &contents).unwrap();
            assert_eq!(read::<Contents>(&path).unwrap(), Some(contents));
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    }

    /// No room, say; a folder of that name fails as well.
    #[test]
    fn what_cannot_be_written_leaves_what_was_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        fs::create_dir(&path).unwrap();
        let told = replace(&path, &Contents { word: "x".to_owned() }).unwrap_err();
        assert!(told.what.contains("file.json") && told.cure.is_some(), "{told}");
        let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        assert_eq!(left.collect::<Vec<_>>(), [path]);
    }

    #[test]
    fn what_is_open_to_others_or_makes_no_sense_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        for (text, mode, part) in [
            (r#"{"version":1,"word":"x"}"#, 0o640, "mode 640"),
            (r#"{"version":7,"word":"x"}"#, 0o600, "version 7"),
            (r#"{"version":1}"#, 0o600, "damaged"),
            (r#"{"vers"#, 0o600, "damaged"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = read::<Contents>(&path).unwrap_err();
            assert!(error.what.contains(part) && error.what.contains("file.json"), "{error}");
            assert!(error.cure.is_some(), "{error}");
        }
    }
}
