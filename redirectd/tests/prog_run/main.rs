//! The real programs in the real kernel: packets in, packets out, by
//! `BPF_PROG_TEST_RUN`, as tables of cases.
//!
//! Each test has a network namespace and a set of programs and maps of its own,
//! see [`home`]. Every case is run twice: with the tc program alone, and with
//! the XDP program in front of it; what comes out must be the same. A packet
//! that a program passes must be the packet that came in, to the bit; one that
//! is sent must be the expected one to the bit, parse with etherparse, and have
//! all its checksums right when they are summed up in full.
//!
//! These tests need root.

mod capture;
mod check;
mod extension;
mod frame;
mod home;
mod moving;
mod network;
mod run;
mod shared_ways;
mod table;
mod talk;

mod capacity;
mod checksums;
mod connections;
mod counters;
mod delivery;
mod expiry;
mod failure;
mod fragments;
mod groups;
mod handshake;
mod headers;
mod hop_limit;
mod icmp_errors;
mod mangled;
mod mtu;
mod opening;
mod parking;
mod peers;
mod ports;
mod ranges;
mod removal;
mod restart;
mod untouched;
mod update;
mod ways;
