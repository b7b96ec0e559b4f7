//! What a redirect means that leaves something open: addresses, families, names.

use std::net::IpAddr;

use super::parse;
use crate::config::{Config, Hosts, Spec, parse_rules, redirects_from};

const HOSTS: &str = "version: 1\ninterfaces: { eth0: }\nhosts:\n  c: [192.0.2.3, \"2001:db8::3\"]\n  \
                     d: 192.0.2.4\n  e: \"2001:db8::5\"\n";

fn config() -> Config {
    parse(&[("f", HOSTS)]).unwrap()
}

/// `name: redirect` for each redirect that `home` → `to` for `peers` means.
fn meaning(addresses: &[&str], home: &str, to: &str, peers: &[&str]) -> Vec<String> {
    let spec = Spec {
        home: home.to_owned(),
        to: to.to_owned(),
        peers: peers.iter().map(|p| (*p).to_owned()).collect(),
        ..Spec::default()
    };
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    match redirects_from("web", &spec, &config().hosts, &addresses) {
        Ok(redirects) => redirects.iter().map(|r| format!("{}: {r}", r.name)).collect(),
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn ports_alone_mean_every_home_address_that_fits() {
    let both = ["192.0.2.1", "2001:db8::1"];
    assert_eq!(
        meaning(&both, "80", "c:8080", &[]),
        [
            "web: tcp 192.0.2.1:80 -> c (192.0.2.3:8080)",
            "web.6: tcp [2001:db8::1]:80 -> c ([2001:db8::3]:8080)",
        ]
    );
    // One family is left: it keeps the name, whichever it is.
    assert_eq!(meaning(&both, "80", "d", &[]), ["web: tcp 192.0.2.1:80 -> d (192.0.2.4:80)"]);
    assert_eq!(
        meaning(&both, "80", "e", &[]),
        ["web: tcp [2001:db8::1]:80 -> e ([2001:db8::5]:80)"]
    );
    assert_eq!(
        meaning(&both, "80-81", "192.0.2.9:90", &[]),
        ["web: tcp 192.0.2.1:80-81 -> 192.0.2.9:90-91"]
    );
    let many = ["2001:db8::1", "192.0.2.1", "192.0.2.2", "2001:db8::2"];
    let names: Vec<String> = meaning(&many, "80", "c", &[])
        .iter()
        .map(|shown| shown.split_once(" -> ").unwrap().0.to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "web.6: tcp [2001:db8::1]:80",
            "web: tcp 192.0.2.1:80",
            "web.2: tcp 192.0.2.2:80",
            "web.6.2: tcp [2001:db8::2]:80",
        ]
    );
}

/// Peers of one family must not leave the other one open to everybody.
#[test]
fn peers_belong_to_the_redirect_of_their_family() {
    let both = ["192.0.2.1", "2001:db8::1"];
    assert_eq!(
        meaning(&both, "80", "c", &["198.51.100.0/24"]),
        ["web: tcp 192.0.2.1:80 -> c (192.0.2.3:80) for 198.51.100.0/24"]
    );
    assert_eq!(
        meaning(&both, "80", "c", &["2001:db8:1::/48", "198.51.100.7"]),
        [
            "web: tcp 192.0.2.1:80 -> c (192.0.2.3:80) for 198.51.100.7/32",
            "web.6: tcp [2001:db8::1]:80 -> c ([2001:db8::3]:80) for 2001:db8:1::/48",
        ]
    );
    assert_eq!(
        meaning(&both, "80", "d", &["2001:db8:1::/48"]),
        ["redirect `web`: no address of the host (192.0.2.4) is of the family of a home address \
          (192.0.2.1, 2001:db8::1) and of the peers\n  cure: give the host an address of the other \
          family"]
    );
}

#[test]
fn a_home_address_that_is_given_is_the_only_one() {
    let both = ["192.0.2.1", "2001:db8::1"];
    assert_eq!(
        meaning(&both, "[2001:db8::7]:80", "c", &[]),
        ["web: tcp [2001:db8::7]:80 -> c ([2001:db8::3]:80)"]
    );
    assert_eq!(
        meaning(&[], "192.0.2.7:80", "d", &[]),
        ["web: tcp 192.0.2.7:80 -> d (192.0.2.4:80)"]
    );
}

#[test]
fn rules_may_name_hosts_again_but_not_otherwise() {
    let hosts = config().hosts;
    let rules = |host: &str| {
        let text = format!(
            "version: 1\nhosts: {{ {host} }}\nredirects:\n  web: {{ home: '192.0.2.1:80', to: d }}\n"
        );
        parse_rules(&text, "f", &hosts, &[]).map(|redirects| redirects[0].target.to_string())
    };
    assert_eq!(rules("x: 192.0.2.9").unwrap(), "192.0.2.4");
    assert_eq!(rules("d: 192.0.2.4").unwrap(), "192.0.2.4");
    let error = rules("d: 192.0.2.9").unwrap_err();
    assert!(
        error.what.starts_with("f:2:10: the host `d` has other addresses in the configuration"),
        "{error}"
    );
    assert!(
        parse_rules("version: 1\nhosts: { d: 192.0.2.4 }\n", "f", &Hosts::default(), &[])
            .unwrap()
            .is_empty()
    );
}
