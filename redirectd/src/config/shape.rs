//! What may stand where in the files: says what is wrong with a file that does
//! not have the form of `text`, with the place of each thing.

use super::{
    report::{Issue, Issues, Spot, shown},
    suggest,
    tree::{Content, Node, Step},
};

/// The form of a node.
pub(super) enum Shape {
    /// One value.
    Text,
    /// One value or a list of them.
    Texts,
    /// These keys and no others; nothing at all only if `optional`.
    Record { keys: &'static [(&'static str, Shape)], optional: bool },
    /// Any names, each with one of these; or nothing at all.
    Named(&'static Shape),
}

use Shape::{Named, Record, Text, Texts};

/// A redirect under its name.
const REDIRECT: Shape = Record {
    keys: &[
        ("protocol", Texts),
        ("home", Text),
        ("to", Text),
        ("peers", Texts),
        ("mode", Text),
        ("flows", Text),
    ],
    optional: false,
};

const INTERFACE: Shape = Record { keys: &[("attach", Text)], optional: true };

/// A file of `rules.d`.
pub(super) const RULES: Shape = Record {
    keys: &[("version", Text), ("hosts", Named(&Texts)), ("redirects", Named(&REDIRECT))],
    optional: false,
};

/// The main file.
pub(super) const MAIN: Shape = Record { keys: MAIN_KEYS, optional: false };

const MAIN_KEYS: &[(&str, Shape)] = &[
    ("version", Text),
    ("home", Texts),
    ("hosts", Named(&Texts)),
    ("interfaces", Named(&INTERFACE)),
    ("snat_ports", Text),
    (
        "timers",
        Record {
            keys: &[
                ("tcp_established", Text),
                ("tcp_transitory", Text),
                ("udp", Text),
                ("udp_unreplied", Text),
            ],
            optional: true,
        },
    ),
    (
        "tables",
        Record {
            keys: &[("redirects", Text), ("flows", Text), ("half_open", Text)],
            optional: true,
        },
    ),
    ("api", Record { keys: &[("socket", Text), ("group", Text)], optional: true }),
    ("metrics", Text),
    ("node", Record { keys: &[("listen", Text)], optional: true }),
    ("redirects", Named(&REDIRECT)),
];

/// Reports where `node`, found at `spot`, does not have the form `shape`. `what`
/// names the node in messages.
pub(super) fn check(node: &Node, shape: &Shape, what: &str, spot: &Spot, issues: &mut Issues) {
    match (shape, &node.content) {
        // What an alias stands for is checked where it is written.
        (_, Content::Alias) | (Text | Texts, Content::Scalar(..)) => {}
        (Texts, Content::List(items)) => {
            for (n, item) in items.iter().enumerate() {
                check(
                    item,
                    &Text,
                    &format!("an item of {what}"),
                    &spot.then(Step::Item(n)),
                    issues,
                );
            }
        }
        (Record { keys, .. }, Content::Map(entries)) => {
            doubles(entries, spot, issues);
            for (n, (key, value)) in entries.iter().enumerate() {
                let spot = spot.then(Step::Entry(n));
                match known(key, keys) {
                    Some((name, shape)) => check(value, shape, &format!("`{name}`"), &spot, issues),
                    None => issues.add(unknown_key(key, keys, what, &spot)),
                }
            }
        }
        (Named(shape), Content::Map(entries)) => {
            doubles(entries, spot, issues);
            for (n, (key, value)) in entries.iter().enumerate() {
                let spot = spot.then(Step::Entry(n));
                match &key.content {
                    Content::Scalar(name, _) => {
                        check(value, shape, &format!("`{}`", shown(name)), &spot, issues);
                    }
                    _ => issues.add(no_name(what, &spot)),
                }
            }
        }
        (Record { optional: true, .. } | Named(_), _) if node.is_null() => {}
        _ => issues.add(misshapen(node, shape, what, spot)),
    }
}

fn known<'a>(key: &Node, keys: &'a [(&'static str, Shape)]) -> Option<&'a (&'static str, Shape)> {
    keys.iter().find(|(name, _)| key.is(name))
}

/// Keys that were given before in the same mapping.
fn doubles(entries: &[(Node, Node)], spot: &Spot, issues: &mut Issues) {
    let mut seen = std::collections::HashMap::new();
    for (n, (key, _)) in entries.iter().enumerate() {
        let Content::Scalar(name, _) = &key.content else { continue };
        let Some(first) = seen.insert(name, n) else { continue };
        issues.add(
            Issue::new(
                spot.then(Step::Entry(n)).key(),
                format!("the key `{}` is given twice", shown(name)),
                "remove one, or give it another name",
            )
            .also(spot.then(Step::Entry(first)).key(), "it is here already"),
        );
    }
}

fn unknown_key(key: &Node, keys: &[(&str, Shape)], within: &str, spot: &Spot) -> Issue {
    let Content::Scalar(name, _) = &key.content else { return no_name(within, spot) };
    let names = || keys.iter().map(|(name, _)| *name);
    let of_main = MAIN_KEYS.iter().any(|(main, _)| main == name);
    let cure = if of_main && names().any(|name| name == "version") {
        "move it to the main file: a file in rules.d has `version`, `hosts` and `redirects` only"
            .to_owned()
    } else if let Some(near) = suggest::nearest(name, names()) {
        format!("did you mean `{near}`?")
    } else {
        format!("the keys here are {}", suggest::list(names()))
    };
    Issue::new(spot.key(), format!("unknown key `{}` in {within}", shown(name)), cure)
}

fn no_name(within: &str, spot: &Spot) -> Issue {
    Issue::new(spot.key(), format!("a key in {within} is not a name"), "write a plain word")
}

fn misshapen(node: &Node, shape: &Shape, what: &str, spot: &Spot) -> Issue {
    let found = match &node.content {
        Content::Scalar(..) if node.is_null() => "nothing",
        Content::Scalar(..) | Content::Alias => "a single value",
        Content::List(_) => "a list",
        Content::Map(_) => "a mapping",
    };
    let (wanted, cure) = match shape {
        Text => ("one value", "write one value".to_owned()),
        Texts => ("one value or a list of values", "write `[a, b]`".to_owned()),
        Named(_) => ("a mapping of names", "write `name: …` on lines of their own".to_owned()),
        Record { keys, .. } => (
            "a mapping",
            format!("write `key: value`; the keys are {}", suggest::list(keys.iter().map(|k| k.0))),
        ),
    };
    // An endpoint such as {80} or [2001:db8::1] becomes a list or mapping unless
    // it is quoted.
    let cure = match (shape, &node.content) {
        (Text, Content::List(_)) => {
            "write one value; one that begins with `[` needs quotes: \"[2001:db8::1]:80\""
                .to_owned()
        }
        _ => cure,
    };
    Issue::new(spot.clone(), format!("{what} is {found}, but must be {wanted}"), cure)
}
