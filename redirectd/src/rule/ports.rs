//! A range of ports: `80`, `8000-8099`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Kind};

/// Ports from `first` to `last`, both included; never 0, never reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports from `first` to `last`, both included, in host byte order.
    ///
    /// # Errors
    /// `first` is 0, or greater than `last`; of kind [`Kind::Usage`].
    pub fn new(first: u16, last: u16) -> Result<Self, Error> {
        if first == 0 {
            return Err(wrong("port 0 cannot be redirected: it is reserved (RFC 6335, section 6)")
                .cure("write a port from 1 to 65535"));
        }
        if first > last {
            return Err(wrong(format!("the port range {first}-{last} ends before it starts"))
                .cure(format!("write {last}-{first}")));
        }
        Ok(Self { first, last })
    }

    /// The ports from `FIRST` to `LAST`, both included; checked when compiling.
    #[must_use]
    pub const fn constant<const FIRST: u16, const LAST: u16>() -> Self {
        const { assert!(FIRST > 0 && FIRST <= LAST, "a range begins above 0 and ends last") };
        Self { first: FIRST, last: LAST }
    }

    /// One port.
    ///
    /// # Errors
    /// `port` is 0; of kind [`Kind::Usage`].
    pub fn single(port: u16) -> Result<Self, Error> {
        Self::new(port, port)
    }

    /// The lowest port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// How many ports, 1 to 65535.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range has at least one port")]
    pub fn len(self) -> u16 {
        // No overflow: `first` is at least 1.
        self.last - self.first + 1
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether the two have a port in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The ports that both have.
    #[must_use]
    pub fn common(self, other: Self) -> Option<Self> {
        let common = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        self.overlaps(other).then_some(common)
    }

    /// All of them in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// `80` or `8000-8099`; digits only, so that what is shown can be read back and
/// nothing else can.
impl FromStr for PortRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(port(first.trim(), text)?, port(last.trim(), text)?)
    }
}

/// Reads `digits`, a part of `whole`.
fn port(digits: &str, whole: &str) -> Result<u16, Error> {
    let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !numeric {
        return Err(wrong(format!("`{whole}` is not a port or a port range"))
            .cure("write a port such as 80, or a range such as 8000-8099"));
    }
    digits.parse().map_err(|_| {
        wrong(format!("port {digits} is too large")).cure("write a port from 1 to 65535")
    })
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(Kind::Usage, what)
}

/// As a string, one form for one port and for a range.
impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From a string, or from a number for one port.
impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortsVisitor)
    }
}

struct PortsVisitor;

impl de::Visitor<'_> for PortsVisitor {
    type Value = PortRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port such as 80, or a range such as \"8000-8099\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortRange, E> {
        number.to_string().parse().map_err(E::custom)
    }
}
