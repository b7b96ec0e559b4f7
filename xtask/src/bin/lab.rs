//! A lab that stands until it is interrupted; with the argument `panic`, until
//! it panics. The lab's tests watch how it ends.
//!
//! Prints the names of its network namespaces, which are entered by
//! `nsenter --net=/run/netns/NAME`, and the id of a process in it.

use xtask::lab::{Lab, Lan};

fn main() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let lan = Lan::for_xdp(&lab)?;
    for host in [&lan.peer, &lan.home, &lan.c, &lan.d] {
        println!("host {}", host.netns());
    }
    let sleeper = lan.home.start(&["sleep", "1000"])?;
    println!("program {}", sleeper.pid());
    assert!(std::env::args().nth(1).as_deref() != Some("panic"), "as told");
    loop {
        std::thread::park();
    }
}
