//! dnsmasq on the host, dig on the peer: answers over UDP that are larger than
//! the MTU and come in fragments.

use std::fs;

use anyhow::{Result, ensure};
use xtask::lab::Process;

use crate::scene::Scene;

/// TXT strings hold up to 255 bytes; twelve of them exceed the MTU twice over.
const RECORDS: usize = 12;

fn record(number: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(number).expect("there are few"));
    format!("{number:03}-{}", letter.to_string().repeat(240))
}

fn dnsmasq(scene: &Scene) -> Result<Process> {
    let mut config = String::from(
        "no-resolv\nno-hosts\nport=5353\nbind-interfaces\nlisten-address=10.0.0.3,fd00::3\n\
         edns-packet-max=4096\nhost-record=small.test,192.0.2.7,2001:db8::7\n",
    );
    for number in 0..RECORDS {
        config += &format!("txt-record=large.test,{}\n", record(number));
    }
    let path = scene.lab.dir().join("dnsmasq.conf");
    fs::write(&path, config)?;
    let conf = format!("--conf-file={}", path.display());
    let mut server = scene.lan.c.start(&[
        "dnsmasq",
        "--keep-in-foreground",
        "--user=root",
        "--log-facility=-",
        &conf,
    ])?;
    server.wait_for_log("started")?;
    Ok(server)
}

fn answers(attach: &str) -> Result<()> {
    let scene = Scene::attached(attach)?;
    let _dnsmasq = dnsmasq(&scene)?;
    scene.add_both("dns", "udp", 53, 5353)?;
    let mut wanted: Vec<String> =
        (0..RECORDS).map(|number| format!("\"{}\"", record(number))).collect();
    wanted.sort();
    for home in ["@10.0.0.2", "@fd00::2"] {
        let dig = |question: &[&str]| {
            let line =
                ["dig", home, "+notcp", "+ignore", "+bufsize=4096", "+tries=1", "+timeout=3"];
            scene.lan.peer.run(&[&line[..], question].concat())
        };
        assert_eq!(dig(&["+short", "small.test", "A"])?, "192.0.2.7\n");
        assert_eq!(dig(&["+short", "small.test", "AAAA"])?, "2001:db8::7\n");

        let short = dig(&["+short", "large.test", "TXT"])?;
        let mut got: Vec<&str> = short.lines().collect();
        got.sort_unstable();
        assert_eq!(got, wanted);
        // It did come in one datagram that is larger than the MTU.
        let full = dig(&["large.test", "TXT"])?;
        let size = full.lines().find_map(|line| line.strip_prefix(";; MSG SIZE  rcvd: "));
        ensure!(
            size.is_some_and(|size| size.parse::<u32>().is_ok_and(|size| size > 3000)),
            "{full}"
        );
    }
    Ok(())
}

#[test]
fn large_answers_by_tc() -> Result<()> {
    answers("tc")
}

#[test]
fn large_answers_by_xdp() -> Result<()> {
    answers("xdp")
}
