//! Connections that a server has and has not accepted yet: CRIU writes none of them
//! down.

use super::{
    descriptors::{self, Open},
    diag,
    tree::Tree,
};
use crate::error::{Error, Kind};

/// How many connections the listeners of `tree` have that nobody has accepted.
///
/// # Errors
/// This user may not see them, or the kernel does not tell.
pub fn unaccepted(tree: &Tree) -> Result<u32, Error> {
    let all = diag::inet().map_err(|why| {
        let what = format!("the kernel does not tell which connections wait: {why}");
        Error::new(Kind::Failed, what)
    })?;
    // Mostly there are none, and nobody need look whose they are.
    let busy = || all.iter().filter(|socket| socket.unaccepted > 0);
    if busy().next().is_none() {
        return Ok(0);
    }
    let open = descriptors::of(tree)?;
    let its_own = |inode| open.iter().any(|descriptor| descriptor.open == Open::Socket(inode));
    Ok(busy().filter(|socket| its_own(socket.inode)).map(|socket| socket.unaccepted).sum())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        process::{self, Command},
    };

    use super::*;

    #[test]
    fn they_are_counted_until_they_are_accepted() {
        let tree = Tree::of(process::id().cast_signed()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Other tests of this process have listeners, too, but accept.
        let before = unaccepted(&tree).unwrap();
        let address = listener.local_addr().unwrap();
        let waiting: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(unaccepted(&tree).unwrap() >= 40.max(before));
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let others = Tree::of(other.id().cast_signed()).and_then(|tree| unaccepted(&tree));
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(others.unwrap(), 0, "they are not its own");
        for _ in &waiting {
            listener.accept().unwrap();
        }
        assert!(unaccepted(&tree).unwrap() < 40);
    }
}
