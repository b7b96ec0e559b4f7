//! The layers that packets pass.

use serde_json::Value;

use crate::{cases, figures, quick};

/// The median of a metric of `suite` in `case`, by contestant.
fn middle(suite: &Value, metric: &str, case: &str, contestant: &str) -> f64 {
    let found = cases(suite, metric).iter().find(|known| known["name"] == case);
    let figures = figures(found.unwrap_or_else(|| panic!("no {case} in {metric}")));
    let rounds = figures.into_iter().find(|figure| figure.0 == contestant);
    let mut rounds = rounds.unwrap_or_else(|| panic!("no {contestant} in {case}")).1;
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

#[test]
fn packets_pass_the_layers_of_their_way_and_no_others() {
    let (suite, _) = quick("layers", &[]);
    let passes = |case: &str, way: &str| middle(&suite, "passes for a packet", case, way);
    let [ip, tcp] = [
        ["IP: packets received", "IP: packets forwarded"],
        ["TCP: segments received", "TCP: segments sent"],
    ];
    for way in ["redirectd-xdp", "redirectd-tc", "iptables", "deputy", "deputy-gather", "socat"] {
        assert!(passes("driver: frames received", way) > 0.9, "{way}");
        assert!(passes("peer: frames sent", way) > 0.0, "{way}");
    }
    for way in ["redirectd-xdp", "redirectd-tc"] {
        for case in ip.iter().chain(&tcp) {
            // Whatever else may speak to home is not a packet in a hundred.
            assert!(passes(case, way) < 0.01, "{way}: {case}");
        }
    }
    for case in ip {
        assert!(passes(case, "iptables") > 0.0, "{case}");
    }
    for case in tcp {
        assert_eq!(passes(case, "iptables"), 0.0, "{case}");
        for way in ["deputy", "deputy-gather", "socat"] {
            assert!(passes(case, way) > 0.01, "{way}: {case}");
        }
    }
    let time = |layer: &str, way: &str| middle(&suite, "time of a packet by layer", layer, way);
    for (way, layers) in [
        ("redirectd-xdp", &["driver", "XDP"][..]),
        ("redirectd-tc", &["driver", "device", "tc"]),
        ("iptables", &["driver", "device", "IP", "netfilter"]),
        ("deputy", &["driver", "device", "IP", "TCP", "copy", "socket", "user space", "scheduler"]),
    ] {
        for layer in layers {
            assert!(time(layer, way) > 0.0, "{way} spends no time in {layer}");
        }
    }
    for way in ["redirectd-xdp", "redirectd-tc"] {
        for layer in ["IP", "netfilter", "TCP", "socket"] {
            assert!(time(layer, way) < 0.1 * time("all layers", way), "{way}: {layer}");
        }
    }
}
