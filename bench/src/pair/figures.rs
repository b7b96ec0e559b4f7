//! What the client prints: for people, or as one line of JSON.

use serde::{Deserialize, Serialize};

/// Of all connections of a run, which begin at the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// From the common start to the end of the last connection.
    pub(crate) seconds: f64,
    /// In the order of their ports.
    pub(crate) connections: Vec<Connection>,
}

/// Of one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Connection {
    /// The server's port.
    pub(crate) port: u16,
    /// From the common start, connecting included, to the server's last answer.
    pub(crate) seconds: f64,
    /// Bytes the client has sent.
    pub(crate) sent: u64,
    /// Bytes that reached the server's program, as told by the server; the
    /// requests that were answered.
    pub(crate) arrived: u64,
    /// Bytes that came back to the client.
    pub(crate) returned: u64,
}

impl Figures {
    /// Bytes that reached the servers.
    pub(crate) fn arrived(&self) -> u64 {
        self.connections.iter().map(|connection| connection.arrived).sum()
    }

    /// The mean of what each connection carried to its server, in Mbit/s, over
    /// its own time: the papers' bandwidth.
    pub(crate) fn mbits_per_connection(&self) -> f64 {
        let rates = self.connections.iter().map(Connection::mbits);
        rates.sum::<f64>() / self.connections.len() as f64
    }

    /// A line for each connection, and one for all.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for connection in &self.connections {
            let Connection { port, seconds, arrived, returned, .. } = connection;
            let mbits = connection.mbits();
            text += &format!(
                "port {port}: {arrived} bytes there, {returned} back in {seconds:.6} s, \
                 {mbits:.2} Mbit/s\n"
            );
        }
        text + &format!(
            "all {}: {} bytes in {:.6} s, {:.2} Mbit/s for each\n",
            self.connections.len(),
            self.arrived(),
            self.seconds,
            self.mbits_per_connection()
        )
    }
}

impl Connection {
    fn mbits(&self) -> f64 {
        self.arrived as f64 * 8.0 / self.seconds / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_the_mean_of_the_connections_own() {
        let connection = |port, seconds, arrived| Connection {
            port,
            seconds,
            sent: arrived,
            arrived,
            returned: 8,
        };
        // 8 and 4 Mbit/s.
        let connections = vec![connection(1, 1.0, 1_000_000), connection(2, 2.0, 1_000_000)];
        let figures = Figures { seconds: 2.0, connections };
        assert!((figures.mbits_per_connection() - 6.0).abs() < 1e-9);
        assert_eq!(figures.arrived(), 2_000_000);
        assert!(
            figures.text().ends_with("all 2: 2000000 bytes in 2.000000 s, 6.00 Mbit/s for each\n")
        );
    }
}
