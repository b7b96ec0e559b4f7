//! The rules of the kernel's own NAT, for nftables and for iptables: DNAT towards
//! the host, SNAT to home, and what conntrack undoes on the way back.

use std::{fmt::Write as _, net::Ipv4Addr};

/// What rules are for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NatRules {
    /// As tools write it.
    pub(crate) protocol: &'static str,
    /// Home's address, which the host sees.
    pub(crate) home: Ipv4Addr,
    /// Where packets go.
    pub(crate) host: Ipv4Addr,
}

impl NatRules {
    /// For `nft -f`: the best form there, all `redirects` (home address, home
    /// port, host's port) in the map `targets` of the table `redirects`.
    pub(crate) fn nft(&self, redirects: impl Iterator<Item = (Ipv4Addr, u16, u16)>) -> String {
        let Self { protocol, home, host } = self;
        let mut elements = String::new();
        for (address, port, host_port) in redirects {
            let _ = write!(elements, "{address} . {port} : {host} . {host_port}, ");
        }
        format!(
            "table ip redirects {{
               map targets {{
                 type ipv4_addr . inet_service : ipv4_addr . inet_service
                 elements = {{ {elements} }}
               }}
               chain prerouting {{
                 type nat hook prerouting priority dstnat
                 dnat ip to ip daddr . {protocol} dport map @targets
               }}
               chain postrouting {{
                 type nat hook postrouting priority srcnat
                 ip daddr {host} snat to {home}
               }}
             }}\n"
        )
    }

    /// For `iptables`: what comes to `port` of `address` goes to the host's
    /// `host_port`.
    pub(crate) fn dnat(&self, address: Ipv4Addr, port: u16, host_port: u16) -> String {
        let Self { protocol, host, .. } = self;
        format!(
            "-t nat -A PREROUTING -p {protocol} -d {address} --dport {port} \
             -j DNAT --to-destination {host}:{host_port}"
        )
    }

    /// For `iptables`: what goes to the host's `ports` (one, or `first:last`) comes
    /// from home.
    pub(crate) fn snat(&self, ports: &str) -> String {
        let Self { protocol, home, host } = self;
        format!(
            "-t nat -A POSTROUTING -p {protocol} -d {host} --dport {ports} \
             -j SNAT --to-source {home}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: NatRules = NatRules {
        protocol: "tcp",
        home: Ipv4Addr::new(198, 18, 0, 1),
        host: Ipv4Addr::new(198, 18, 0, 3),
    };

    #[test]
    fn every_redirect_is_an_element_of_the_map() {
        let redirects = [(5000, 6000), (5001, 6001)].map(|(port, to)| (RULES.home, port, to));
        let text = RULES.nft(redirects.into_iter());
        assert!(text.contains(
            "{ 198.18.0.1 . 5000 : 198.18.0.3 . 6000, 198.18.0.1 . 5001 : 198.18.0.3 . 6001,  }"
        ));
        assert!(text.contains("dnat ip to ip daddr . tcp dport map @targets"));
        assert!(text.contains("ip daddr 198.18.0.3 snat to 198.18.0.1"));
    }

    #[test]
    fn the_papers_rules_are_one_there_and_one_back() {
        assert_eq!(
            RULES.dnat(RULES.home, 5000, 6000),
            "-t nat -A PREROUTING -p tcp -d 198.18.0.1 --dport 5000 -j DNAT --to-destination \
             198.18.0.3:6000"
        );
        assert_eq!(
            RULES.snat("5000"),
            "-t nat -A POSTROUTING -p tcp -d 198.18.0.3 --dport 5000 -j SNAT --to-source 198.18.0.1"
        );
    }
}
