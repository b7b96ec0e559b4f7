//! The command line as it is typed, against a daemon on a real socket. Mostly its
//! packet path is in memory, so that failures can be had at will; in `daemon.rs`
//! it is the kernel's. What becomes of packets is tested in `netns.rs`.

mod add_process;
mod apart;
mod daemon;
mod exits;
mod files;
mod following;
mod inspect;
mod json;
mod monitor;
mod moves;
mod nodes;
mod program;
mod redirects;
mod reports;
mod server;
mod shell;
mod survival;
mod system_v;
mod targets;
mod top;
mod units;
mod views;
