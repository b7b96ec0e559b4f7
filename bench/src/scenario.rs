//! What is asked of every contestant alike.

use std::{fmt, net::Ipv4Addr};

use crate::{
    stream::{HOME_PORT, HOST_PORT, PORTS},
    topology::{HOME, nth},
};

/// How much there is in the tables while packets are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// Established flows, hit in turn.
    pub(crate) flows: u32,
    /// Redirects; the first, of [`PORTS`] ports, takes the flows, the others
    /// are there to be looked past.
    pub(crate) redirects: u32,
}

/// Home ports used at each of the other home addresses.
const PORTS_PER_ADDRESS: u32 = 50_000;
/// The first of the other home addresses.
const OTHER_HOME: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);

impl Scenario {
    /// Home endpoints of the redirects without traffic, one port each; they all
    /// go to [`HOST_PORT`].
    pub(crate) fn idle_endpoints(self) -> impl Iterator<Item = (Ipv4Addr, u16)> {
        (0..self.redirects.saturating_sub(1)).map(|n| {
            let port = 1024 + n % PORTS_PER_ADDRESS;
            (nth(OTHER_HOME, n / PORTS_PER_ADDRESS), port as u16)
        })
    }

    /// The home addresses these are at, beside [`HOME`].
    pub(crate) fn idle_addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (0..self.redirects.saturating_sub(1).div_ceil(PORTS_PER_ADDRESS))
            .map(|n| nth(OTHER_HOME, n))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flows, redirects } = *self;
        write!(f, "{}, {}", counted(flows, "flow"), counted(redirects, "redirect"))
    }
}

/// `1 flow`, `100,000 flows`.
pub(crate) fn counted(number: u32, what: &str) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {what}{}", if number == 1 { "" } else { "s" })
}

/// Home endpoints with traffic, each with its port at the host.
pub(crate) fn busy_endpoints() -> impl Iterator<Item = (Ipv4Addr, u16, u16)> {
    (0..PORTS).map(|n| (HOME, HOME_PORT + n, HOST_PORT + n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_redirects_are_as_many_as_asked_for_and_differ() {
        let scenario = Scenario { flows: 1, redirects: 100_000 };
        let endpoints: BTreeSet<_> = scenario.idle_endpoints().collect();
        assert_eq!(endpoints.len(), 99_999);
        let addresses: BTreeSet<_> = scenario.idle_addresses().collect();
        assert_eq!(endpoints.iter().map(|e| e.0).collect::<BTreeSet<_>>(), addresses);
        assert!(!addresses.contains(&HOME));
    }

    #[test]
    fn it_is_said_in_words() {
        let text = Scenario { flows: 1, redirects: 100_000 }.to_string();
        assert_eq!(text, "1 flow, 100,000 redirects");
        assert_eq!(counted(1_234_567, "flow"), "1,234,567 flows");
    }

    #[test]
    fn with_one_redirect_there_is_no_idle_one() {
        let scenario = Scenario { flows: 1, redirects: 1 };
        assert_eq!(scenario.idle_endpoints().count() + scenario.idle_addresses().count(), 0);
    }
}
