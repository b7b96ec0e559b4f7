//! What CRIU is asked before a move.

use anyhow::Result;
use redirectd::migrate::criu::{Criu, Version};
use xtask::lab::{Lab, Machine, criu};

use crate::tracked::memory_is_tracked;

#[test]
fn it_tells_its_version_and_what_it_can() -> Result<()> {
    assert!(Criu::new(criu()).check()? >= Version::OLDEST);
    // It looks at the network of whoever asks, and keeps what it finds in /run.
    let lab = Lab::new()?;
    let machine = Machine::new(&lab.host("c")?)?;
    let words = machine.enter().into_iter().map(Into::into).chain([criu().into_os_string()]);
    let criu = Criu::run_by(words.collect());
    let features = criu.features()?;
    assert!(machine.run(&["test", "-s", "/run/criu.kdat"])?.success().is_ok());
    assert_eq!(criu.features()?, features);
    assert_eq!(features.tracks_memory, memory_is_tracked()?);
    Ok(())
}

#[test]
fn a_program_that_is_not_criu_is_named_with_what_it_said() {
    let told = |criu: Criu| criu.version().unwrap_err().to_string();
    let absent = told(Criu::new("/nonexistent/criu"));
    assert!(absent.contains("cannot run CRIU as `/nonexistent/criu`"), "{absent}");
    assert!(absent.contains("cure: "), "{absent}");
    let other = told(Criu::run_by(["sh", "-c", "echo I am a shell >&2"].map(Into::into).into()));
    assert!(other.contains("did not answer") && other.contains("I am a shell"), "{other}");
}
