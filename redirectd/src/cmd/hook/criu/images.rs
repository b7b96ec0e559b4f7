//! The images of a process that was dumped, made ready for its new host.

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use hyper::Method;

use crate::{
    api::{
        client::Client,
        moves::{MoveView, ReturnReport, ReturnRequest},
        types::FlowList,
    },
    cmd::Context,
    error::{Error, Kind},
    migrate::criu::{
        images::{
            FILES,
            readdress::{Relocation, readdress},
            sockets::{Socket, sockets},
        },
        names::{self, Named, Place},
    },
    rule::Redirect,
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

/// What the names of `sockets` become by `moved`; the way back of their connections
/// is prepared.
///
/// # Errors
/// One of them would break, or home refuses.
pub(in crate::cmd) async fn relocation(
    client: &Client,
    moved: &MoveView,
    sockets: &[Socket],
) -> Result<Relocation, Error> {
    keep_ports(moved)?;
    let from: Vec<&Redirect> = moved.redirects.iter().map(|redirect| &redirect.from).collect();
    let addresses = from.iter().map(|redirect| redirect.target).collect();
    let (place, flows) = if from.iter().all(|redirect| redirect.is_at_home()) {
        (Place::Home(addresses), Vec::new())
    } else {
        let list: FlowList = client.get("/v1/flows").await?;
        (Place::Host(addresses), list.flows)
    };
    relocate(client, moved, &names::named(sockets, &place, &flows)?).await
}

/// A restored socket listens where it did.
fn keep_ports(moved: &MoveView) -> Result<(), Error> {
    let other = moved.redirects.iter().find(|r| r.from.target_port != r.to.target_port);
    let Some(other) = other else { return Ok(()) };
    let (from, to) = (other.from.target_endpoint(), other.to.target_endpoint());
    let what = format!("redirect `{}` moves from {from} to {to}, another port", other.from.name);
    Err(Error::new(Kind::Conflict, what)
        .cure("the process keeps its ports: begin the move to a host without a port"))
}

/// What the sockets' names become, which home is told and asked.
async fn relocate(client: &Client, moved: &MoveView, named: &[Named]) -> Result<Relocation, Error> {
    let pairs = moved.redirects.iter().map(|redirect| (redirect.from.target, redirect.to.target));
    let addresses: BTreeMap<IpAddr, IpAddr> = pairs.collect();
    if moved.redirects.iter().all(|redirect| redirect.to.is_at_home()) {
        return Ok(names::at_home(named, addresses));
    }
    let connections = named.iter().map(|named| named.at_home).collect();
    let path = format!("/v1/moves/{}/return", moved.id);
    let request = ReturnRequest { connections };
    let report: ReturnReport = client.send_to(Method::POST, &path, &request).await?;
    names::on_host(named, &report, addresses)
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
