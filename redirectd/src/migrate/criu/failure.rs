//! What CRIU could not do, in its own words and with a cure where one is known.

use super::messages::Response;
use crate::error::{Error, Kind};

/// So many of CRIU's errors are told: the first, as the others follow from it.
const LINES: usize = 3;

/// A cause that CRIU's log shows, and its cure. The first that fits counts.
struct Cause {
    /// What a line of the log has in it: all of these.
    signs: &'static [&'static str],
    what: &'static str,
    cure: &'static str,
}

const CAUSES: &[Cause] = &[
    Cause {
        signs: &["Unsupported proto 262"],
        what: "it has an MPTCP socket",
        cure: "start it without MPTCP; Go programs with GODEBUG=multipathtcp=0",
    },
    Cause {
        signs: &["In-flight connection"],
        what: "a connection waits at its listener to be accepted",
        cure: "try again when it has accepted",
    },
    Cause {
        signs: &["unix: Dangling connection"],
        what: "it is connected by a Unix socket to a process that would stay behind",
        cure: "end that connection, or move the root of the tree that has both processes",
    },
    Cause {
        signs: &["Can't dump file", "(chr "],
        what: "it has a device open",
        cure: "have it close the device: no other machine has the same one",
    },
    Cause {
        signs: &["Can't dump file"],
        what: "it has a file open that cannot be written down",
        cure: "have it close the file",
    },
    Cause {
        signs: &["send_fds failed"],
        what: "it has a descriptor that no other process can be given, as those of io_uring are",
        cure: "start it without io_uring",
    },
    Cause {
        signs: &["Unknown socket collected"],
        what: "it has a socket of a family that CRIU does not know",
        cure: "have it close the socket",
    },
    Cause {
        signs: &["Can't dump ghost file"],
        what: "it has a deleted file open that is too large to go along",
        cure: "have it close the file",
    },
    Cause {
        signs: &["SysVIPC shmem map"],
        what: "it has System V shared memory, which others may share",
        cure: "start it without, or in an IPC namespace of its own",
    },
    Cause {
        signs: &["Can't lookup mount"],
        what: "it has a file open that was opened in another mount namespace",
        cure: "start it without inherited files",
    },
    Cause {
        signs: &["Unseizable"],
        what: "something traces it, as a debugger does",
        cure: "detach that first",
    },
    Cause {
        signs: &["dangling tty"],
        what: "its terminal belongs to a shell that would stay behind",
        cure: "start it without a terminal, or let it go without",
    },
    Cause {
        signs: &["tty: Found slave peer"],
        what: "its terminal belongs to a shell that would stay behind",
        cure: "start it without a terminal, or let it go without",
    },
    Cause {
        signs: &["ctty inheritance detected"],
        what: "a process has its terminal open as /dev/tty, which CRIU takes for another's",
        cure: "end its session first, or use a shell that does not do so: bash does not",
    },
    Cause {
        signs: &["Can't get rlimit", "Operation not permitted"],
        what: "it is another user's, and its limits may not be read here",
        cure: "give whoever runs this CAP_SYS_RESOURCE, or run the program as this user",
    },
    Cause {
        signs: &["session leader", "outside of its pid namespace"],
        what: "the leader of its session is not in its tree",
        cure: "move the session's leader, or start it with setsid",
    },
    Cause {
        signs: &["Unable to detach from", "No such process"],
        what: "there is no such process",
        cure: "name one that runs",
    },
    Cause {
        signs: &["Can't open file", "on restore"],
        what: "a file that it has open is not on this machine",
        cure: "put the file there",
    },
    Cause {
        signs: &["has bad size"],
        what: "a file that it has open is another one on this machine",
        cure: "put the same file there",
    },
    Cause {
        signs: &["has bad build-ID"],
        what: "a program or library that it runs is another one on this machine",
        cure: "install the same version there",
    },
    Cause {
        signs: &["has bad mode"],
        what: "a file that it has open has other permissions on this machine",
        cure: "give it the same",
    },
    Cause {
        signs: &["Can't bind inet socket", "Cannot assign requested address"],
        what: "an address of its sockets is not this machine's",
        cure: "give the machine the address, or say what it becomes here",
    },
    Cause {
        signs: &["Can't bind inet socket", "Address already in use"],
        what: "another process has a port of its sockets on this machine",
        cure: "end that process",
    },
    Cause {
        signs: &["Can't fork for", "File exists"],
        what: "a number of its processes is taken on this machine",
        cure: "end the process that has it; a zombie goes when its parent waits for it",
    },
    Cause {
        signs: &["page-pipe: tee: Operation not permitted"],
        what: "the kernel allows CRIU no more pipes",
        cure: "set the sysctl fs.pipe-user-pages-soft to 0 for the time of the move",
    },
    Cause {
        signs: &["No space left on device"],
        what: "there is no room left on the tmpfs for its images",
        cure: "make room there (`df`), or take --memory lazy, which has no memory in its images",
    },
];

/// The error for what CRIU could not do, from its log and its answer.
pub(super) fn explain(what: &str, log: &str, response: &Response) -> Error {
    let errors: Vec<&str> = log.lines().filter_map(said).collect();
    let first = errors[..errors.len().min(LINES)].join("; ");
    let criu = match (first.is_empty(), &response.message, response.errno) {
        (false, ..) => first,
        (true, Some(message), _) => message.clone(),
        (true, None, Some(errno)) => nix::errno::Errno::from_raw(errno).desc().to_owned(),
        (true, None, None) => "it gives no reason".to_owned(),
    };
    // Where there is no room, there is none for its log.
    let fits = |cause: &&Cause| errors.iter().any(|line| cause.fits(line)) || cause.fits(&criu);
    let cause = CAUSES.iter().find(fits);
    match cause {
        Some(cause) => {
            let text = format!("{what}: {}; CRIU says: {criu}", cause.what);
            Error::new(Kind::Failed, text).cure(cause.cure)
        }
        None => Error::new(Kind::Failed, format!("{what}; CRIU says: {criu}")),
    }
}

impl Cause {
    fn fits(&self, line: &str) -> bool {
        self.signs.iter().all(|sign| line.contains(sign))
    }
}

/// What an error in the log says, without when and where in CRIU's source.
fn said(line: &str) -> Option<&str> {
    let (_, error) = line.split_once("Error (")?;
    let (_, text) = error.split_once("): ")?;
    // It cannot raise its own limit of open files, and goes on without.
    (!text.contains("Can't setup RLIMIT_NOFILE")).then_some(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs of CRIU 4.2, shortened, and what must be told.
    const LOGS: &[(&str, &[&str])] = &[
        (
            "Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not \
             permitted\n\
             Error (criu/sk-inet.c:137): inet: Unsupported proto 262 for socket 4b3a9e\n\
             Error (criu/cr-dump.c:1975): Dumping FAILED.\n",
            &["an MPTCP socket", "multipathtcp=0", "Unsupported proto 262 for socket 4b3a9e"],
        ),
        (
            "(00.01) Error (criu/files-ext.c:94): Can't dump file 3 of that type [20666] (chr \
             10:229)\n",
            &["a device open", "chr 10:229"],
        ),
        (
            "Error (criu/files-ext.c:94): Can't dump file 3 of that type [600] (anon \
             anon_inode:bpf-map)\n",
            &["cannot be written down", "anon_inode:bpf-map"],
        ),
        ("pie: 382: Error (criu/pie/parasite.c:588): send_fds failed (-22)\n", &["io_uring"]),
        (
            "     7: Error (criu/files-reg.c:2175): File srv/data has bad size 11 (expect 6)\n\
             7: Error (criu/files.c:1221): Unable to open fd=3 id=0xb\n",
            &["another one on this machine", "File srv/data has bad size 11 (expect 6)"],
        ),
        (
            "Error (criu/tty.c:2286): tty: ctty inheritance detected sid/pgrp 48 (ctty pid_real 48 \
             pty pid_real 46)\n",
            &["open as /dev/tty", "bash"],
        ),
        (
            "Error (criu/cr-dump.c:800): Can't get rlimit 0: Operation not permitted\n",
            &["another user's", "CAP_SYS_RESOURCE"],
        ),
        (
            "     7: Error (criu/sk-inet.c:1059): inet: Can't bind inet socket (id 12): Cannot \
             assign requested address\n",
            &["is not this machine's"],
        ),
        (
            "Error (criu/page-xfer.c:309): Unable to spill data: No space left on device\n",
            &["no room left on the tmpfs", "--memory lazy", "Unable to spill data"],
        ),
    ];

    #[test]
    fn known_causes_are_told_with_their_cure_and_criu_s_own_words() {
        for (log, words) in LOGS {
            let error = explain("process 7 cannot be written down", log, &Response::default());
            let told = error.to_string();
            for word in words.iter().chain(&["process 7 cannot be written down", "cure: "]) {
                assert!(told.contains(word), "{word:?} is not in {told}");
            }
            assert!(!told.contains("RLIMIT") && !told.contains(".c:"), "{told}");
        }
    }

    #[test]
    fn that_there_is_no_room_is_told_where_there_is_none_for_the_log() {
        let response = Response { errno: Some(libc::ENOSPC), ..Response::default() };
        let told = explain("it failed", "", &response).to_string();
        assert!(told.contains("no room left on the tmpfs") && told.contains("cure: "), "{told}");
    }

    #[test]
    fn unknown_causes_are_told_in_the_words_there_are() {
        let told = |log: &str, response: &Response| explain("it failed", log, response).to_string();
        let log = "Warn  (criu/x.c:1): never mind\nError (criu/x.c:2): flux is low\n";
        assert_eq!(told(log, &Response::default()), "it failed; CRIU says: flux is low");
        let response = Response { errno: Some(libc::ESRCH), ..Response::default() };
        assert_eq!(told("", &response), "it failed; CRIU says: No such process");
        let message = Some("no flux".to_owned());
        let response = Response { message, ..response };
        assert_eq!(told("", &response), "it failed; CRIU says: no flux");
        let nothing = told("", &Response::default());
        assert_eq!(nothing, "it failed; CRIU says: it gives no reason");
    }
}
