//! The papers' own figures: NAT redirection against MOSIX's deputy (Kansas State
//! University; three nodes on a switch of 100 Mbit/s, Pentium 4 of 1.6 GHz,
//! Linux 2.4).

/// Bytes on each connection. The paper's times and bandwidths give it: 203.73 s
/// at 15.71 Mbit/s are 400 MB, and so are all the others but for rounding.
pub(super) const AMOUNT: u64 = 400_000_000;

/// One line of the paper's table.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) connections: u16,
    /// Execution time in seconds.
    pub(super) seconds: Contestants,
    /// Mbit/s of each connection.
    pub(super) bandwidth: Contestants,
    /// Percent of home's processor.
    pub(super) cpu: Detours,
    /// Home's load average.
    pub(super) load: Detours,
}

/// A figure of each contestant of the paper.
#[derive(Debug)]
pub(super) struct Contestants {
    pub(super) mosix: f64,
    pub(super) iptables: f64,
    pub(super) direct: f64,
}

/// A figure of each contestant that goes through home.
#[derive(Debug)]
pub(super) struct Detours {
    pub(super) mosix: f64,
    pub(super) iptables: f64,
}

/// All of it.
pub(super) const TABLE: [Line; 7] = [
    line(3, [203.73, 109.79, 103.51], [15.71, 29.15, 30.92], [58.8, 27.1], [0.52, 0.02]),
    line(6, [275.56, 219.58, 212.61], [11.61, 14.57, 15.05], [85.7, 27.1], [1.34, 0.01]),
    line(9, [390.28, 328.89, 316.60], [8.19, 9.73, 10.11], [85.0, 25.5], [1.73, 0.01]),
    line(12, [513.64, 437.77, 424.55], [6.23, 7.31, 7.54], [87.3, 27.5], [1.83, 0.02]),
    line(15, [640.92, 552.14, 529.11], [4.99, 5.79, 6.05], [87.5, 27.9], [1.80, 0.01]),
    line(25, [1063.21, 913.89, 882.72], [3.01, 3.50, 3.63], [90.0, 24.5], [3.55, 0.02]),
    line(50, [2130.70, 1840.89, 1746.64], [1.50, 1.74, 1.83], [90.0, 28.0], [4.42, 0.02]),
];

const fn line(
    connections: u16,
    seconds: [f64; 3],
    bandwidth: [f64; 3],
    cpu: [f64; 2],
    load: [f64; 2],
) -> Line {
    Line {
        connections,
        seconds: contestants(seconds),
        bandwidth: contestants(bandwidth),
        cpu: detours(cpu),
        load: detours(load),
    }
}

const fn contestants([mosix, iptables, direct]: [f64; 3]) -> Contestants {
    Contestants { mosix, iptables, direct }
}

const fn detours([mosix, iptables]: [f64; 2]) -> Detours {
    Detours { mosix, iptables }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which also finds a digit that was copied wrongly.
    #[test]
    fn every_connection_of_the_paper_carried_400_mb() {
        for line in &TABLE {
            let Contestants { mosix, iptables, direct } = &line.bandwidth;
            let seconds = [line.seconds.mosix, line.seconds.iptables, line.seconds.direct];
            for (bandwidth, seconds) in [mosix, iptables, direct].into_iter().zip(seconds) {
                let amount = bandwidth * 1e6 / 8.0 * seconds;
                let off = (amount / AMOUNT as f64 - 1.0).abs();
                assert!(off < 0.01, "{}: {amount}", line.connections);
            }
        }
    }
}
