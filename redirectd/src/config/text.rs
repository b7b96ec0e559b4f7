//! The files as they are written, before anything is understood: scalars stay
//! text, so that whatever is wrong with them is said by the one who knows what
//! they mean. The same keys stand in `shape`; a test holds the two together.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, SeqAccess, Visitor},
};

/// A redirect as people write it, under its name in YAML, or on the command
/// line. All parts are text; [`crate::config::redirects_from`] understands them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// `tcp`, `udp`; none means `tcp`.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub protocol: Vec<String>,
    /// `80`, `8000-8099`, `192.0.2.1:80`, `[2001:db8::1]:80`.
    #[serde(deserialize_with = "text")]
    pub home: String,
    /// `HOST`, `HOST:PORT`, `192.0.2.3:8080`, `[2001:db8::3]:8080`; without a
    /// port, the home ports.
    #[serde(deserialize_with = "text")]
    pub to: String,
    /// Prefixes or addresses of peers; none means all.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// `nat`, which is also meant where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `new-only`, which is also meant where there is none, or `follow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<String>,
}

/// The main file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MainFile {
    pub(super) version: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) home: Vec<String>,
    pub(super) hosts: Named<Many>,
    pub(super) interfaces: Named<Option<Interface>>,
    pub(super) snat_ports: Option<String>,
    pub(super) timers: Option<Timers>,
    pub(super) tables: Option<Tables>,
    pub(super) api: Option<Api>,
    pub(super) metrics: Option<String>,
    pub(super) node: Option<Node>,
    pub(super) redirects: Named<Spec>,
}

/// A file of `rules.d`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RulesFile {
    pub(super) version: Option<String>,
    hosts: Named<Many>,
    redirects: Named<Spec>,
}

impl From<RulesFile> for MainFile {
    fn from(rules: RulesFile) -> Self {
        let RulesFile { version, hosts, redirects } = rules;
        Self { version, hosts, redirects, ..Self::default() }
    }
}

/// `interfaces`, under a name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Interface {
    pub(super) attach: Option<String>,
}

/// `timers`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Timers {
    pub(super) tcp_established: Option<String>,
    pub(super) tcp_transitory: Option<String>,
    pub(super) udp: Option<String>,
    pub(super) udp_unreplied: Option<String>,
}

/// `tables`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tables {
    pub(super) redirects: Option<String>,
    pub(super) flows: Option<String>,
    pub(super) half_open: Option<String>,
    pub(super) held_mib: Option<String>,
}

/// `api`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Api {
    pub(super) socket: Option<String>,
    pub(super) group: Option<String>,
}

/// `node`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Node {
    pub(super) listen: Option<String>,
}

/// A mapping in the order in which it is written, doubles included; nothing at
/// all (`redirects:` with every entry commented out) is an empty one.
#[derive(Debug)]
pub(super) struct Named<V>(pub(super) Vec<(String, V)>);

impl<V> Default for Named<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Named<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(std::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Named<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<V>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Named<V>, E> {
                Ok(Named(Vec::new()))
            }
        }

        deserializer.deserialize_any(Entries(std::marker::PhantomData))
    }
}

/// One text or a list of them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Many(#[serde(deserialize_with = "one_or_many")] pub(super) Vec<String>);

/// A text, nothing being an empty one.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Texts;

    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one value or a list of values")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_unit<E: de::Error>(self) -> Result<Vec<String>, E> {
            Ok(Vec::new())
        }

        // Numbers and truth values are wrong wherever lists are allowed, but
        // that is better said where the meaning is known.
        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Vec<String>, E> {
            Ok(vec![value.to_string()])
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Vec<String>, E> {
            Ok(vec![value.to_string()])
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Vec<String>, E> {
            Ok(vec![value.to_string()])
        }

        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Vec<String>, E> {
            Ok(vec![value.to_string()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }

    deserializer.deserialize_any(Texts)
}
