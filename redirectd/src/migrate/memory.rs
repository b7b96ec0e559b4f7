//! How the memory of a process goes with it; pure.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::criu::{Features, pipes};
use crate::error::{Error, Kind};

/// Memory for which leaving it behind is not worth what it costs: a second
/// conversation between the machines, and a process that depends on home for a
/// while. Copying so much freezes it for some tens of milliseconds.
const SMALL: u64 = 32 << 20;
/// With a link whose speed is known, memory is copied if that takes no longer.
const SHORT: Duration = Duration::from_millis(50);

/// What is asked for: `--memory`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wish {
    /// Whatever is best.
    #[default]
    Auto,
    /// All memory goes before the process runs.
    Copy,
    /// The process runs first, and its memory follows.
    Lazy,
    /// Memory goes while the process still runs at home, and what it has changed
    /// meanwhile after it is frozen.
    Precopy,
}

/// How the memory goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// All before the process runs.
    #[default]
    Copy,
    /// After it.
    Lazy,
    /// Most before it is frozen, in rounds, and then what it has changed meanwhile.
    Precopy,
}

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// How the memory goes.
    pub way: Way,
    /// The reason; a sentence without a full stop.
    pub why: String,
}

/// What a choice is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// The memory to move, in bytes.
    pub memory: u64,
    /// What CRIU can do at home.
    pub home: Features,
    /// What it can do on the host.
    pub host: Features,
    /// How fast the link between them is, in bytes each second, if that is known.
    pub link: Option<u64>,
}

impl std::str::FromStr for Wish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "auto" => Ok(Self::Auto),
            "copy" => Ok(Self::Copy),
            "lazy" => Ok(Self::Lazy),
            "precopy" => Ok(Self::Precopy),
            other => Err(Error::new(Kind::Usage, format!("memory cannot go by `{other}`"))
                .cure("one of auto, copy, lazy, precopy")),
        }
    }
}

/// How memory goes, if `wish` is asked for.
///
/// # Errors
/// What is asked for cannot be had here.
pub fn choose(wish: Wish, situation: &Situation) -> Result<Choice, Error> {
    let choice = |way, why: String| Ok(Choice { way, why });
    match (wish, cannot_follow(situation)) {
        (Wish::Copy, _) => choice(Way::Copy, "it was asked for".into()),
        (Wish::Lazy, None) => choice(Way::Lazy, "it was asked for".into()),
        (Wish::Lazy, Some(Lack { why, cure })) => {
            Err(Error::new(Kind::Failed, format!("{why}, so memory cannot follow"))
                .cure(format!("take --memory copy, or {cure}")))
        }
        (Wish::Precopy, _) if situation.home.tracks_memory => {
            choice(Way::Precopy, "it was asked for".into())
        }
        (Wish::Precopy, _) => Err(no_precopy()),
        (Wish::Auto, cannot_follow) => Ok(best(situation, cannot_follow)),
    }
}

/// Whether the images of a process fit where it goes, if `memory` bytes of it go by `way`
/// and there is `room` for so many. Of memory that goes ahead this is the first round:
/// what the next ones have, nobody knows before.
///
/// # Errors
/// They do not.
pub fn must_fit(way: Way, memory: u64, room: u64) -> Result<(), Error> {
    let missing = match way {
        Way::Copy | Way::Precopy => memory.saturating_sub(room),
        Way::Lazy => 0,
    };
    if missing == 0 {
        return Ok(());
    }
    let (memory, room, missing) = (Bytes(memory), Bytes(room), Bytes(missing));
    let what = format!(
        "there is room for {room} of images, on a tmpfs, and {memory} are to go: {missing} are missing"
    );
    Err(Error::new(Kind::Failed, what).cure(
        "make that tmpfs larger (`mount -o remount,size=…`), or take --memory lazy, which has \
         no memory in its images",
    ))
}

fn best(situation: &Situation, cannot_follow: Option<Lack>) -> Choice {
    let Situation { memory, link, .. } = *situation;
    let amount = Bytes(memory);
    let time = link.filter(|link| *link > 0).map(|link| copying(memory, link));
    let (way, why) = match (time, cannot_follow) {
        (_, _) if memory <= SMALL => (Way::Copy, format!("{amount} are soon copied")),
        (Some(time), _) if time <= SHORT => {
            (Way::Copy, format!("{amount} are copied in about {} ms", time.as_millis()))
        }
        // It writes some of the memory twice, but needs nothing of the host.
        (_, Some(Lack { why, .. })) if situation.home.tracks_memory => {
            (Way::Precopy, format!("{why}; most of {amount} goes while the process runs"))
        }
        (Some(time), Some(Lack { why, .. })) => {
            let ms = time.as_millis();
            (Way::Copy, format!("{why}; copying {amount} freezes the process for about {ms} ms"))
        }
        (None, Some(Lack { why, .. })) => {
            (Way::Copy, format!("{why}; the process is frozen while {amount} are copied"))
        }
        (Some(time), None) => {
            let ms = time.as_millis();
            (Way::Lazy, format!("copying {amount} would freeze the process for about {ms} ms"))
        }
        (None, None) => (Way::Lazy, format!("copying {amount} would freeze the process for long")),
    };
    Choice { way, why }
}

/// Why memory cannot follow a process.
struct Lack {
    why: &'static str,
    cure: String,
}

/// Why memory cannot follow the process, if so.
fn cannot_follow(situation: &Situation) -> Option<Lack> {
    if !situation.host.lazy_pages {
        let why = "the kernel on the host lets no process run before its memory is there";
        let cure = "a kernel with userfaultfd (CONFIG_USERFAULTFD)".to_owned();
        return Some(Lack { why, cure });
    }
    // That is all it takes at home.
    situation.home.narrow_pipes.then(|| Lack {
        why: "CRIU may have no pipe of 4 MiB on the machine that the process leaves, to leave its \
              memory in",
        cure: format!("{}, there", pipes::CURE),
    })
}

fn no_precopy() -> Error {
    let cure = "take --memory lazy, which freezes it no longer, or auto";
    let what = "memory cannot go while the process runs: the kernel at home does not tell which \
                pages it changes meanwhile (CONFIG_MEM_SOFT_DIRTY)";
    Error::new(Kind::Failed, what).cure(cure)
}

/// How long `memory` takes over a link of so many bytes each second.
fn copying(memory: u64, link: u64) -> Duration {
    Duration::from_millis(memory.saturating_mul(1000) / link)
}

/// An amount of memory as people say it.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0.div_ceil(1 << 20);
        if mib < 10 << 10 { write!(f, "{mib} MiB") } else { write!(f, "{} GiB", mib >> 10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_do_not_fit_are_told_with_what_is_missing() {
        let mib = |mib: u64| mib << 20;
        for way in [Way::Copy, Way::Precopy] {
            must_fit(way, mib(48), mib(48)).unwrap();
            let told = must_fit(way, mib(48), mib(40)).unwrap_err().to_string();
            for part in ["room for 40 MiB", "48 MiB are to go: 8 MiB are missing", "--memory lazy"]
            {
                assert!(told.contains(part), "{part:?} is not in {told}");
            }
        }
        must_fit(Way::Lazy, mib(48), 0).unwrap();
        must_fit(Way::Copy, 0, 0).unwrap();
    }

    const ALL: Features = Features { tracks_memory: true, lazy_pages: true, narrow_pipes: false };
    const NONE: Features =
        Features { tracks_memory: false, lazy_pages: false, narrow_pipes: false };
    const NARROW: Features = Features { narrow_pipes: true, ..NONE };

    fn situation(mib: u64, host: Features, link: Option<u64>) -> Situation {
        Situation { memory: mib << 20, home: NONE, host, link }
    }

    #[test]
    fn auto_chooses_by_what_there_is_and_explains_itself() {
        let gigabit = Some(125_000_000);
        for (mib, host, link, way, why) in [
            (8, ALL, None, Way::Copy, "8 MiB are soon copied"),
            (8, NONE, gigabit, Way::Copy, "8 MiB are soon copied"),
            (400, ALL, None, Way::Lazy, "copying 400 MiB would freeze the process for long"),
            (
                400,
                ALL,
                gigabit,
                Way::Lazy,
                "copying 400 MiB would freeze the process for about 3355 ms",
            ),
            (400, ALL, Some(10 << 30), Way::Copy, "400 MiB are copied in about 39 ms"),
            (400, NONE, None, Way::Copy, "frozen while 400 MiB are copied"),
            (400, NONE, gigabit, Way::Copy, "freezes the process for about 3355 ms"),
            (20 << 10, NONE, Some(0), Way::Copy, "frozen while 20 GiB are copied"),
        ] {
            let choice = choose(Wish::Auto, &situation(mib, host, link)).unwrap();
            assert_eq!(choice.way, way, "{choice:?}");
            assert!(choice.why.contains(why), "{why:?} is not in {choice:?}");
        }
    }

    #[test]
    fn auto_has_memory_go_ahead_only_where_it_cannot_follow() {
        let chosen = |mib, host| {
            let situation = Situation { home: ALL, ..situation(mib, host, Some(125_000_000)) };
            choose(Wish::Auto, &situation).unwrap()
        };
        assert_eq!((chosen(400, ALL).way, chosen(8, NONE).way), (Way::Lazy, Way::Copy));
        let ahead = chosen(400, NONE);
        assert_eq!(ahead.way, Way::Precopy);
        assert!(ahead.why.contains("most of 400 MiB goes while the process runs"), "{ahead:?}");
    }

    #[test]
    fn memory_does_not_follow_out_of_pipes_that_are_too_narrow() {
        let narrow = Situation { home: NARROW, ..situation(400, ALL, None) };
        let choice = choose(Wish::Auto, &narrow).unwrap();
        assert_eq!(choice.way, Way::Copy);
        assert!(choice.why.contains("no pipe of 4 MiB on the machine that"), "{choice:?}");
        let tracked = Situation { home: Features { tracks_memory: true, ..NARROW }, ..narrow };
        assert_eq!(choose(Wish::Auto, &tracked).unwrap().way, Way::Precopy);
        let error = choose(Wish::Lazy, &narrow).unwrap_err();
        let cure = error.cure.unwrap();
        assert!(error.what.ends_with("so memory cannot follow"), "{}", error.what);
        assert!(cure.contains("--memory copy") && cure.contains("fs.pipe-max-size to"), "{cure}");
        // What leaves no memory behind needs no pipes, nor does the host.
        let host = Situation { host: Features { narrow_pipes: true, ..ALL }, ..narrow };
        let host = Situation { home: NONE, ..host };
        assert_eq!(choose(Wish::Lazy, &host).unwrap().way, Way::Lazy);
        assert_eq!(choose(Wish::Copy, &narrow).unwrap().way, Way::Copy);
    }

    #[test]
    fn what_is_asked_for_is_done_or_refused_with_a_cure() {
        let large = |host| situation(400, host, None);
        let way = |wish, host| choose(wish, &large(host)).map(|choice| choice.way);
        assert_eq!(way(Wish::Copy, ALL), Ok(Way::Copy));
        assert_eq!(way(Wish::Lazy, ALL), Ok(Way::Lazy));
        let told = |wish, situation: &Situation| choose(wish, situation).unwrap_err().to_string();
        let lazy = told(Wish::Lazy, &large(NONE));
        assert!(lazy.contains("on the host lets no process run before"), "{lazy}");
        let untracked = told(Wish::Precopy, &large(ALL));
        assert!(untracked.contains("does not tell which pages it changes"), "{untracked}");
        // It needs nothing of the host.
        for host in [ALL, NONE] {
            let tracked = Situation { home: ALL, ..large(host) };
            let choice = choose(Wish::Precopy, &tracked).unwrap();
            assert_eq!((choice.way, &*choice.why), (Way::Precopy, "it was asked for"));
        }
        for error in [lazy, untracked] {
            assert!(error.contains("cure: "), "{error}");
        }
    }

    #[test]
    fn wishes_are_read_by_their_names() {
        let read: Vec<_> = ["auto", "copy", "lazy", "precopy"].map(str::parse).into();
        assert_eq!(read, [Wish::Auto, Wish::Copy, Wish::Lazy, Wish::Precopy].map(Ok));
        assert!("eager".parse::<Wish>().unwrap_err().to_string().contains("cure: one of auto"));
    }
}
