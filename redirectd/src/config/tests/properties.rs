//! Files that nobody would write, and files that say what is known.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::parse;
use crate::{
    config::{
        Hosts, Spec,
        files::Source,
        parse_rules, redirects_from,
        report::{Issues, Spot},
        shape::{self, Shape},
        text::{MainFile, RulesFile},
        tree::Node,
    },
    rule::{Redirect, properties::crowded_set},
};

const SAMPLE: &str = include_str!("../../../../configs/redirectd.yaml");

/// Keys, values and signs of YAML, so that random texts get past the scanner.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "version",
        "home",
        "hosts",
        "interfaces",
        "timers",
        "redirects",
        "web",
        "to",
        "peers",
        "protocol",
        "tcp",
        "80",
        "1",
        "192.0.2.1",
        "c",
        "2h",
        ": ",
        ":",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\"",
        "'",
        "|",
        ">",
        "#",
        "&a ",
        "*a",
        "<<",
        "!x ",
        "?",
        "~",
        "null",
        "\t",
        "---\n",
        "...",
        "%YAML",
        "\r\n",
        "\u{feff}",
        "é",
        "\u{85}",
        "\0",
        "@",
        "`",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

/// The sample file with some stretches replaced by random words.
fn spoilt_sample() -> impl Strategy<Value = String> {
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..20, words()), 1..4).prop_map(
        |cuts| {
            let mut chars: Vec<char> = SAMPLE.chars().collect();
            for (at, length, words) in cuts {
                let at = at.index(chars.len() + 1);
                let end = chars.len().min(at + length);
                chars.splice(at..end, words.chars().take(12));
            }
            chars.into_iter().collect()
        },
    )
}

/// Reads it as whatever it may be. All that counts is that it comes to an end,
/// and that an error says something.
fn read(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(source) = Source::new("f", bytes) else { return Ok(()) };
    for files in [vec![("f", source.text.as_str())], vec![("m", SAMPLE), ("f", &source.text)]] {
        if let Err(error) = parse(&files) {
            prop_assert!(error.what.starts_with("f:") || error.what.starts_with("m:"), "{}", error);
        }
    }
    if let Err(error) = parse_rules(&source.text, "f", &Hosts::default(), &[]) {
        prop_assert!(error.what.starts_with("f:"), "{}", error);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes)?;
    }

    #[test]
    fn any_words_are_read_or_refused(text in words()) {
        read(text.as_bytes())?;
    }

    #[test]
    fn a_spoilt_file_is_read_or_refused(text in spoilt_sample()) {
        read(text.as_bytes())?;
    }

    #[test]
    fn any_redirect_of_the_command_line_is_read_or_refused(
        name in "\\PC{0,8}",
        home in "\\PC{0,12}|[0-9:.\\[\\]-]{0,16}",
        to in "\\PC{0,12}|[0-9a-f:.\\[\\]-]{0,16}",
        peers in prop::collection::vec("[0-9a-f:./]{0,12}", 0..3),
    ) {
        let spec = Spec { home, to, peers, ..Spec::default() };
        let home: IpAddr = "192.0.2.1".parse().unwrap();
        if let Ok(redirects) = redirects_from(&name, &spec, &Hosts::default(), &[home]) {
            prop_assert!(redirects.iter().all(|redirect| redirect.validate().is_ok()));
        }
    }

    /// What is written for people is read back as it was.
    #[test]
    fn redirects_are_read_back(set in crowded_set()) {
        let mut entries = Map::new();
        for redirect in &set {
            entries.insert(redirect.name.clone(), written(redirect));
        }
        let file = serde_json::json!({ "version": 1, "redirects": entries });
        let read = parse_rules(&file.to_string(), "f", &Hosts::default(), &[]).unwrap();
        let nameless: Vec<Redirect> =
            set.iter().map(|r| Redirect { host: None, ..r.clone() }).collect();
        prop_assert_eq!(read, nameless);
    }

    /// `text` and `shape` have the same keys and forms: what the one refuses,
    /// the other explains, and nothing else.
    #[test]
    fn whatever_is_refused_is_explained(value in document(), main: bool) {
        let text = value.to_string();
        let tree = Node::parse(&text).expect("JSON is YAML");
        let mut issues = Issues::default();
        let (refused, shape): (_, &Shape) = if main {
            (serde_yaml::from_str::<MainFile>(&text).err(), &shape::MAIN)
        } else {
            (serde_yaml::from_str::<RulesFile>(&text).err(), &shape::RULES)
        };
        shape::check(&tree, shape, "the file", &Spot::file(0), &mut issues);
        prop_assert_eq!(refused.is_some(), !issues.is_empty(), "{:?} {:?}", refused, issues);
    }
}

fn written(redirect: &Redirect) -> Value {
    let protocols: Vec<String> = redirect.protocols.iter().map(ToString::to_string).collect();
    let peers: Vec<String> = redirect.peers.iter().map(ToString::to_string).collect();
    let target = Redirect { host: None, ..redirect.clone() }.target_endpoint();
    serde_json::json!({
        "protocol": protocols,
        "home": redirect.home_endpoint(),
        "to": target,
        "peers": peers,
        "mode": redirect.mode.to_string(),
        "flows": redirect.flows.to_string(),
    })
}

/// A file with known sections and keys, mostly where they belong and with
/// values of a fitting form.
fn document() -> impl Strategy<Value = Value> {
    let sections = (
        prop::option::of(named(record(&["protocol", "home", "to", "peers", "mode", "flows"]))),
        prop::option::of(named(record(&["attach"]))),
        prop::option::of(named(form())),
        prop::option::of(record(&["tcp_established", "tcp_transitory", "udp", "udp_unreplied"])),
        prop::option::of(record(&["redirects", "flows", "half_open", "held_mib"])),
        prop::option::of(record(&["socket", "group"])),
        prop::option::of(record(&["listen"])),
        prop::option::weighted(0.05, form()),
    );
    let single = record(&["version", "home", "snat_ports", "metrics"]);
    (sections, single).prop_map(|(sections, single)| {
        let (redirects, interfaces, hosts, timers, tables, api, node, unknown) = sections;
        let Value::Object(mut file) = single else { return single };
        let sections = [
            ("redirects", redirects),
            ("interfaces", interfaces),
            ("hosts", hosts),
            ("timers", timers),
            ("tables", tables),
            ("api", api),
            ("node", node),
            ("unknown", unknown),
        ];
        for (key, section) in sections {
            file.extend(section.map(|section| (key.to_owned(), section)));
        }
        Value::Object(file)
    })
}

fn scalar() -> impl Strategy<Value = Value> + Clone {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::from(1.5)),
        prop::sample::select(vec!["c", "80", "~", "", "null", "192.0.2.1"]).prop_map(Value::from),
    ]
}

/// Mostly one value; now and then a list or a mapping.
fn form() -> impl Strategy<Value = Value> {
    let list = prop::collection::vec(scalar(), 0..3).prop_map(Value::from);
    let nested = prop::collection::vec(list.clone(), 1..2).prop_map(Value::from);
    let mapping = scalar().prop_map(|value| serde_json::json!({ "home": value }));
    prop_oneof![60 => scalar(), 2 => list, 1 => nested, 1 => mapping]
}

/// Some of `keys`, or something else altogether.
fn record(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let some = prop::sample::subsequence(keys, 0..=keys.len());
    let entries = (some, prop::collection::vec(form(), keys.len()));
    let record = entries.prop_map(|(keys, forms)| {
        keys.into_iter().zip(forms).map(|(key, form)| ((*key).to_owned(), form)).collect()
    });
    prop_oneof![60 => record.prop_map(Value::Object), 1 => form()]
}

fn named(form: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let entries = prop::collection::btree_map("[a-z]", form, 0..3);
    entries.prop_map(|entries| Value::Object(entries.into_iter().collect()))
}
