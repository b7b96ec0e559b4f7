//! Real programs go home → c → d → home, each with connections that are kept busy
//! all the while and whose data is compared byte for byte.

mod client;
mod datagrams;
mod mirror;
mod nginx;
mod peers;
mod postgres;

mod redis;
mod rustc;
mod sshd;
mod ten;
mod tour;
