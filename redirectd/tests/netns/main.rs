//! Real programs in network namespaces talk through a real redirectd. Each
//! test compares what arrived with what was sent.
//!
//! The hosts come from `xtask::lab`; [`scene`] puts redirectd on home, and
//! [`numbered`] and [`raw`] make the traffic that no program makes on demand.
//! These tests need root, and the tools that `cargo xtask setup` installs.

mod echo;
mod numbered;
mod raw;
mod relocate;
mod repair;
mod scene;

mod attach;
mod bulk;
mod change;
mod crowd;
mod datagrams;
mod dns;
mod flood;
mod forged;
mod fragments;
mod icmp;
mod local;
mod moves;
mod neighbours;
mod nodes;
mod parked_tcp;
mod parking;
mod pmtu;
mod process;
mod refused;
mod restart;
mod routes;
mod scope;
mod session;
mod tables;
mod timers;
mod unreachable;
mod vlan;
mod web;
