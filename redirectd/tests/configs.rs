//! Every file in `configs/` is what it says it is, and folders of files are read
//! as they should be.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use redirectd::{
    config::{self, Config, Hosts},
    error::Kind,
    rule::RedirectSet,
};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// All YAML files below `folder`, as paths from there.
fn yaml_files(folder: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            yaml_files(folder, &path, found);
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            found.insert(path);
        }
    }
}

fn names(config: &Config) -> Vec<&str> {
    config.redirects.iter().map(|redirect| redirect.name.as_str()).collect()
}

#[test]
fn no_file_is_left_out_here() {
    let mut found = BTreeSet::new();
    yaml_files(&configs(), Path::new(""), &mut found);
    let tested = [
        "examples/first.yaml",
        "examples/moved.yaml",
        "redirectd.yaml",
        "rules.d/10-web.yaml",
        "rules.d/20-dns.yaml",
    ];
    assert_eq!(found, tested.iter().map(PathBuf::from).collect());
}

#[test]
fn the_main_file_and_its_rules_are_one_configuration() {
    let config = config::load(&configs().join("redirectd.yaml")).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(names(&config), ["web", "web.6", "mail", "games", "web-inside", "dns", "dns.6"]);
    let shown: Vec<String> = config.redirects.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "tcp 192.0.2.1:80 -> c (192.0.2.3:8080)",
            "tcp [2001:db8::1]:80 -> c ([2001:db8::3]:8080)",
            "tcp 192.0.2.1:25 -> d (192.0.2.4:25) for 198.51.100.0/24",
            "tcp,udp 192.0.2.1:8000-8099 -> e (192.0.2.5:9000-9099)",
            "tcp 192.0.2.1:80 -> e (192.0.2.5:8080) for 10.0.0.0/8, 172.16.0.0/12",
            "tcp,udp 192.0.2.1:53 -> c (192.0.2.3:53)",
            "tcp,udp [2001:db8::1]:53 -> c ([2001:db8::3]:53)",
        ]
    );
    RedirectSet::new(config.redirects.clone()).unwrap();
    assert_eq!(config.timers.tcp_established, Duration::from_secs(2 * 3600 + 4 * 60));
    assert_eq!(config.api.group.as_deref(), Some("redirectd"));
    assert_eq!(config.metrics.unwrap().to_string(), "127.0.0.1:9310");
    assert_eq!(config.node_listen.unwrap().to_string(), "192.0.2.1:9311");
}

/// The main file says that it shows the defaults; where it does not, it says so.
#[test]
fn the_main_file_shows_the_defaults() {
    let shown = config::load(&configs().join("redirectd.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("redirectd.yaml");
    fs::write(&file, "version: 1\ninterfaces: { eth0: }\n").unwrap();
    let default = config::load(&file).unwrap();
    assert_eq!(default.interfaces, shown.interfaces);
    assert_eq!(default.snat_ports, shown.snat_ports);
    assert_eq!(default.timers, shown.timers);
    assert_eq!(default.tables, shown.tables);
    assert_eq!(default.api.socket, shown.api.socket);
    assert_eq!((default.home.len(), default.metrics, default.api.group), (0, None, None));
    assert_eq!(default.node_listen, None);
}

#[test]
fn the_first_rule_has_five_lines_at_most() {
    let file = configs().join("examples/first.yaml");
    assert!(fs::read_to_string(&file).unwrap().lines().count() <= 5);
    let config = config::load(&file).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(names(&config), ["web"]);
}

#[test]
fn what_is_applied_by_command_needs_no_configuration() {
    let text = fs::read_to_string(configs().join("examples/moved.yaml")).unwrap();
    let redirects = config::parse_rules(&text, "moved.yaml", &Hosts::default(), &[]).unwrap();
    assert_eq!(redirects.len(), 1);
    assert_eq!(redirects[0].to_string(), "tcp 192.0.2.1:5432 -> 192.0.2.4:5432");
    assert_eq!(redirects[0].home, "192.0.2.1".parse::<IpAddr>().unwrap());
}

#[test]
fn files_of_rules_are_read_by_name_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.d");
    fs::create_dir(&rules).unwrap();
    let main = folder.path().join("redirectd.yaml");
    fs::write(&main, "version: 1\ninterfaces: { eth0: }\nhosts: { c: 192.0.2.3 }\n").unwrap();
    let rule = |name: &str, port: u16| {
        format!("version: 1\nredirects:\n  {name}: {{ home: '192.0.2.1:{port}', to: c }}\n")
    };
    fs::write(rules.join("20-b.yml"), rule("b", 2)).unwrap();
    fs::write(rules.join("10-a.yaml"), rule("a", 1)).unwrap();
    fs::write(rules.join("30-c.yaml"), rule("c", 3)).unwrap();
    for ignored in ["40-d.yaml~", ".50-e.yaml", "README", "60-f.yaml.dpkg-new", "70-g.YAML"] {
        fs::write(rules.join(ignored), "not: [yaml").unwrap();
    }
    let config = config::load(&main).unwrap();
    assert_eq!(names(&config), ["a", "b", "c"]);

    // Both places of a contradiction between files are named.
    fs::write(rules.join("30-c.yaml"), rule("c", 1)).unwrap();
    let error = config::load(&main).unwrap_err();
    let (c, a) = (rules.join("30-c.yaml"), rules.join("10-a.yaml"));
    assert!(error.what.starts_with(&format!("{}:3:14: redirects `a` and `c`", c.display())));
    assert!(error.what.contains(&format!("\n{}:3:14: the other one", a.display())), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("redirectd.yaml");
    let error = config::load(&main).unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    assert!(error.what.contains("redirectd.yaml cannot be read"), "{error}");

    fs::write(&main, b"version: 1\n# caf\xe9\n").unwrap();
    let error = config::load(&main).unwrap_err();
    assert_eq!(error.what, format!("{}:2: the file is not UTF-8 text", main.display()));

    fs::write(&main, "version: 1\ninterfaces: { eth0: }\n").unwrap();
    fs::write(folder.path().join("rules.d"), "").unwrap();
    let error = config::load(&main).unwrap_err();
    assert!(error.what.contains("rules.d cannot be read"), "{error}");

    let error = config::load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(error.what, "/dev/zero has more than 64 MiB");
}
