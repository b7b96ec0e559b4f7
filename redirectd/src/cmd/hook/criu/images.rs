//! The images of a process that was dumped, made ready for its new host.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    api::moves::MoveView,
    cmd::Context,
    conduct::relocation,
    error::{Error, Kind},
    migrate::criu::images::{FILES, readdress::readdress, sockets::sockets},
};

/// What [`FILES`] is called as it was before the move.
const BEFORE: &str = "files.img.before-move";

/// Prepares the connections in `folder` at the new host of `moved`, and writes the
/// names there into the images.
pub(super) async fn prepare(
    context: &Context,
    moved: &MoveView,
    folder: Option<&Path>,
) -> Result<(), Error> {
    let folder = folder.ok_or_else(|| {
        Error::new(Kind::Usage, "CRTOOLS_IMAGE_DIR does not say where the images are")
            .cure("have CRIU call this, or name the folder with --images")
    })?;
    let path = folder.join(FILES);
    let image = fs::read(&path).map_err(|error| failed("read", &path, &error))?;
    let sockets = sockets(&image).map_err(|why| unfit(&path, &why.to_string()))?;
    let relocation = relocation(&context.client, moved, &sockets).await?;
    let edited = readdress(&image, &relocation).map_err(|why| unfit(&path, &why.to_string()))?;
    replace(folder, &edited)
}

/// Puts `edited` in the place of the image, which is kept.
fn replace(folder: &Path, edited: &[u8]) -> Result<(), Error> {
    let in_folder = |name: &str| -> PathBuf { folder.join(name) };
    let (image, before, next) = (in_folder(FILES), in_folder(BEFORE), in_folder("files.img.new"));
    fs::write(&next, edited).map_err(|error| failed("write", &next, &error))?;
    fs::rename(&image, &before).map_err(|error| failed("keep", &image, &error))?;
    fs::rename(&next, &image).map_err(|error| failed("write", &image, &error))
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Failed, format!("cannot {verb} {}: {error}", path.display()))
}

fn unfit(path: &Path, why: &str) -> Error {
    Error::new(Kind::Failed, format!("{} cannot be used: {why}", path.display()))
}
