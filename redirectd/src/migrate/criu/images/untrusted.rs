//! What holds of images whatever their bytes are. The property tests here and the
//! fuzz target `images` of `redirectd/fuzz` run the same function.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    clock::put_forward,
    connections,
    file::Image,
    readdress::{Relocation, readdress},
    sockets::{INET_SOCKET, Socket, sockets},
    tree, wire,
};

/// Reads `bytes` as an image, as a record of one, and as a socket in one.
///
/// # Panics
/// When something does not hold.
pub fn images(bytes: &[u8]) {
    let mut file = Vec::new();
    wire::put_bytes(&mut file, INET_SOCKET, bytes);
    for image in
        [bytes.to_vec(), Image::Files.image([bytes]), Image::Files.image([&file[..], &file, bytes])]
    {
        files(&image);
    }
    for image in [bytes.to_vec(), Image::Tree.image([bytes])] {
        let _ = tree::processes(&image);
    }
    for image in [bytes.to_vec(), Image::Stream.image([bytes])] {
        connection(&image);
    }
}

/// A clock that is put forward can be put forward again, and all else of the connection is as
/// it was.
fn connection(image: &[u8]) {
    let reached = connections::reached(image);
    if let Ok(later) = put_forward(image, 1000) {
        assert!(put_forward(&later, 1000).is_ok(), "what was edited can be read");
        assert_eq!(connections::reached(&later), reached);
    }
}

/// An image that is read comes back to the byte if nothing is to be changed, and
/// with the names that were asked for if something is.
fn files(image: &[u8]) {
    if let Ok(records) = Image::Files.records(image) {
        assert_eq!(Image::Files.image(records), image);
    }
    let open = connections::open(image);
    let Ok(before) = sockets(image) else {
        assert!(open.is_err(), "what is malformed was read");
        assert!(readdress(image, &Relocation::default()).is_err(), "what is malformed was edited");
        return;
    };
    let same = readdress(image, &Relocation::default());
    assert_eq!(same.as_deref(), Ok(image), "it is not the same without a reason");
    let addresses: BTreeMap<_, _> =
        before.iter().map(|socket| (socket.local.ip(), elsewhere(socket.local.ip()))).collect();
    let relocation = Relocation::between_hosts(addresses.clone(), &before);
    let moved = readdress(image, &relocation).expect("every socket has a name there");
    let after = sockets(&moved).expect("what was edited can be read");
    let expected = before.into_iter().map(|mut socket: Socket| {
        socket.local.set_ip(addresses[&socket.local.ip()]);
        socket
    });
    assert_eq!(after, expected.collect::<Vec<_>>());
}

/// Another address of the same family.
fn elsewhere(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() ^ 1).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() ^ 1).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    /// A connected socket as CRIU writes it.
    fn socket(words: &[u32]) -> Vec<u8> {
        let mut message = Vec::new();
        let family = if words.len() == 1 { 2 } else { 10 };
        for (field, number) in
            [(1, 7), (2, 4711), (3, family), (4, 1), (5, 6), (6, 1), (7, 80), (8, 4000), (9, 2)]
        {
            wire::put_number(&mut message, field, number);
        }
        for field in [11, 12] {
            words.iter().for_each(|word| wire::put_number(&mut message, field, (*word).into()));
        }
        wire::put_bytes(&mut message, 14, b"options");
        message
    }

    #[test]
    fn it_holds_of_nothing_and_of_what_criu_writes() {
        images(&[]);
        for words in [&[0x0200_000a][..], &[0, 0, 0xffff_0000, 0x0200_000a]] {
            let socket = socket(words);
            let mut file = Vec::new();
            wire::put_bytes(&mut file, INET_SOCKET, &socket);
            let image = Image::Files.image([&file]);
            assert_eq!(sockets(&image).map(|sockets| sockets.len()), Ok(1));
            images(&image);
            images(&socket);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_holds_of_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
            images(&bytes);
        }

        /// Sockets with some bytes changed, left out or put in.
        #[test]
        fn it_holds_of_what_is_nearly_right(
            six: bool,
            changes in vec((any::<Index>(), any::<u8>(), 0..3), 0..6),
        ) {
            let words = [0, 0, 0xffff_0000, 0x0200_000a];
            let mut bytes = socket(if six { &words } else { &words[3..] });
            for (place, byte, how) in changes {
                let place = place.index(bytes.len());
                match how {
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    _ if bytes.len() > 1 => drop(bytes.remove(place)),
                    _ => {}
                }
            }
            images(&bytes);
        }
    }
}
