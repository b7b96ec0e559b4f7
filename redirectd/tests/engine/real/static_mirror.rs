//! A server that sends back what it gets, with a thread for each connection. The
//! test `in_static_rust` compiles it.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpListener,
    thread,
};

fn main() -> io::Result<()> {
    for connection in TcpListener::bind("0.0.0.0:7000")?.incoming() {
        let mut connection = connection?;
        thread::spawn(move || -> io::Result<()> {
            let mut some = vec![0; 1 << 16];
            loop {
                let length = connection.read(&mut some)?;
                if length == 0 {
                    return Ok(());
                }
                connection.write_all(&some[..length])?;
            }
        });
    }
    Ok(())
}
