//! The command line as it is typed, against a real daemon's API on a real
//! socket; only the packet path is in memory, so that failures can be had at
//! will. What needs the kernel is tested in `netns.rs`.

mod exits;
mod files;
mod json;
mod redirects;
mod server;
mod shell;
mod survival;
mod targets;
mod top;
mod units;
mod views;
