//! The tree of processes, from `pstree.img`.

use prost::Message as _;

use super::file::{Image, Malformed};

/// One process. Its numbers are those in the PID namespace it was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's; 0 for the root of the tree.
    pub parent: i32,
    /// Its threads', the first of which is its own. Of a process that has ended,
    /// and that nobody has waited for, CRIU writes any number, or none here.
    pub threads: Vec<i32>,
}

/// `pstree_entry`.
#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(uint32, required, tag = "1")]
    pid: u32,
    #[prost(uint32, required, tag = "2")]
    parent: u32,
    #[prost(uint32, repeated, packed = "false", tag = "5")]
    threads: Vec<u32>,
}

/// All processes in `image`, parents before their children.
///
/// # Errors
/// It is no such image.
pub fn processes(image: &[u8]) -> Result<Vec<Process>, Malformed> {
    Image::Tree.records(image)?.into_iter().map(process).collect()
}

fn process(record: &[u8]) -> Result<Process, Malformed> {
    let entry = Entry::decode(record).map_err(|_| Malformed("a process cannot be read"))?;
    let number = |number: u32| {
        i32::try_from(number).map_err(|_| Malformed("a process has an impossible number"))
    };
    Ok(Process {
        pid: number(entry.pid)?,
        parent: number(entry.parent)?,
        threads: entry.threads.into_iter().filter_map(|one| number(one).ok()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_process_with_two_threads_and_its_child_are_read() {
        let entry = |pid, parent, threads: &[u32]| {
            Entry { pid, parent, threads: threads.to_vec() }.encode_to_vec()
        };
        let ended = entry(9, 7, &[0xf000_0000]);
        let image = Image::Tree.image([entry(7, 0, &[7, 9]), entry(8, 7, &[8]), ended]);
        let expected = [
            Process { pid: 7, parent: 0, threads: vec![7, 9] },
            Process { pid: 8, parent: 7, threads: vec![8] },
            Process { pid: 9, parent: 7, threads: vec![] },
        ];
        assert_eq!(processes(&image).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn any_record_is_a_process_or_an_error(record: Vec<u8>) {
            let _ = processes(&Image::Tree.image([record]));
        }
    }
}
