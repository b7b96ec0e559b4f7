//! `apply`, `check` and SIGHUP: redirects from files.

use std::{fs, io::Write, path::Path, process::Stdio};

use crate::server::{CONFIG, Server, command, eventually, redirect};

const WEB: &str = "\
version: 1
redirects:
  web: { home: \"192.0.2.1:80\", to: \"c:8080\" }
";

const MAIL: &str = "\
version: 1
hosts:
  e: 192.0.2.5
redirects:
  mail: { home: \"192.0.2.1:25\", to: e }
";

fn write_rules(server: &Server, name: &str, text: &str) {
    fs::create_dir_all(server.path("rules.d")).unwrap();
    fs::write(server.path("rules.d").join(name), text).unwrap();
}

#[test]
fn apply_reads_the_configuration_files_anew() {
    let server = Server::start();
    write_rules(&server, "10-web.yaml", WEB);
    let plan = server.ok(&["apply", "--dry-run"]);
    assert!(plan.contains("+ web: tcp 192.0.2.1:80") && plan.contains("1 to add"), "{plan}");
    assert_eq!(server.listed(), [""; 0], "a dry run changes nothing");

    assert!(server.ok(&["apply"]).contains("added web"));
    assert_eq!(server.listed(), ["web active"]);
    assert!(server.ok(&["apply"]).contains("nothing changed"));

    write_rules(&server, "10-web.yaml", MAIL);
    let said = server.ok(&["apply"]);
    assert!(said.contains("removed web") && said.contains("added mail"), "{said}");
}

#[test]
fn a_signal_does_the_same() {
    let server = Server::start();
    write_rules(&server, "10-web.yaml", WEB);
    server.reload();
    eventually("web is redirected", || server.listed() == ["web active"]);
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_of_until_it_is_mended() {
    let server = Server::start();
    write_rules(&server, "10-web.yaml", WEB);
    server.ok(&["apply"]);

    write_rules(&server, "20-more.yaml", "version: 1\nredirects:\n  mail: { home: 25, two: e }\n");
    let said = server.fails(1, &["apply"]);
    assert!(said.contains("20-more.yaml:3:") && said.contains("two"), "{said}");
    server.reload();
    eventually("the status tells", || server.ok(&["status"]).contains("refused"));
    assert_eq!(server.listed(), ["web active"]);

    write_rules(&server, "20-more.yaml", MAIL);
    server.ok(&["apply"]);
    assert!(!server.ok(&["status"]).contains("refused"));
    assert_eq!(server.listed(), ["mail active", "web active"]);
}

#[test]
fn apply_f_replaces_what_was_added_and_leaves_what_is_in_files() {
    let server = Server::start();
    write_rules(&server, "10-web.yaml", WEB);
    server.ok(&["apply"]);
    server.ok(&["add", "dns", "192.0.2.1:53", "--to", "d", "--protocol", "udp"]);

    let file = server.path("mine.yaml");
    fs::write(&file, MAIL).unwrap();
    let file = file.to_str().unwrap();
    let plan = server.ok(&["apply", "-f", file, "--dry-run"]);
    assert!(plan.contains("- dns") && plan.contains("+ mail"), "{plan}");
    server.ok(&["apply", "-f", file]);
    assert_eq!(server.listed(), ["mail active", "web active"]);

    let said = server.fails(1, &["apply", "-f", "/no/such/file"]);
    assert!(said.contains("/no/such/file"), "{said}");
}

#[test]
fn apply_f_reads_standard_input() {
    let server = Server::start();
    let mut apply = command(&server.socket())
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    apply.stdin.take().unwrap().write_all(MAIL.as_bytes()).unwrap();
    let output = apply.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.listed(), ["mail active"]);
}

#[test]
fn a_file_that_contradicts_an_added_redirect_is_refused() {
    let server = Server::start();
    server.ok(&["add", "www", "192.0.2.1:80", "--to", "d:80", "--no-check"]);
    write_rules(&server, "10-web.yaml", WEB);
    let said = server.fails(1, &["apply"]);
    assert!(said.contains("`web`") && said.contains("`www`"), "{said}");
    assert_eq!(server.listed(), ["www active"]);
}

#[test]
fn what_is_in_a_file_is_changed_there() {
    let server = Server::start();
    write_rules(&server, "10-web.yaml", WEB);
    server.ok(&["apply"]);
    let said = server.fails(1, &["remove", "web"]);
    assert!(said.contains("configuration file") && said.contains("redirect apply"), "{said}");
    let add = ["add", "web", "192.0.2.1:80", "--to", "d:80", "--replace", "--no-check"];
    server.fails(1, &add);
    assert_eq!(server.listed(), ["web active"]);
}

#[test]
fn interfaces_come_and_go_with_the_configuration_or_not_at_all() {
    let server = Server::start();
    let attached = || {
        let status = server.json(&["status"]);
        let list = status["interfaces"].as_array().unwrap().clone();
        list.iter().map(|i| i["interface"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(attached(), ["eth7", "lo"]);

    let main = server.path("redirectd.yaml");
    let without_hosts_interface = CONFIG.replace("eth7", "eth8");
    fs::write(&main, &without_hosts_interface).unwrap();
    server.ok(&["apply"]);
    assert_eq!(attached(), ["eth8", "lo"]);

    fs::write(&main, CONFIG.replace("eth7", "eth9")).unwrap();
    write_rules(&server, "10-web.yaml", WEB);
    let said = server.fails(1, &["apply"]);
    assert!(said.contains("eth9"), "{said}");
    assert_eq!((attached(), server.listed()), (vec!["eth8".into(), "lo".into()], vec![]));

    // The interface can be had, but then a redirect cannot: it goes again.
    fs::write(&main, CONFIG.replace("eth7", "eth7: { attach: tc }\n  eth8")).unwrap();
    server.fake.fail_change(Some(0));
    server.fails(1, &["apply"]);
    assert_eq!(attached(), ["eth8", "lo"]);
    server.fake.fail_change(None);
    server.ok(&["apply"]);
    assert_eq!(attached(), ["eth7", "eth8", "lo"]);
}

#[test]
fn what_only_a_start_can_set_is_warned_of() {
    let server = Server::start();
    let changed = format!("{CONFIG}tables: {{ flows: 4096 }}\n");
    fs::write(server.path("redirectd.yaml"), changed).unwrap();
    let ended = server.redirect(&["apply"]);
    assert_eq!(ended.code, 0);
    assert!(ended.err.contains("`tables` changed"), "{}", ended.err);
}

#[test]
fn check_needs_no_daemon_and_says_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().join("no.sock");
    let file = folder.path().join("redirectd.yaml");
    let check = |file: &Path| redirect(&nobody, &["check", file.to_str().unwrap()]);

    fs::write(&file, CONFIG).unwrap();
    let ended = check(&file);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    assert!(ended.out.contains("right:"), "{ended:?}");

    fs::create_dir(folder.path().join("rules.d")).unwrap();
    let rules = folder.path().join("rules.d/10-web.yaml");
    fs::write(&rules, WEB).unwrap();
    let ended = check(&rules);
    assert_eq!(ended.code, 0, "with the hosts of the main file: {ended:?}");

    fs::write(&rules, WEB.replace("c:8080", "nowhere:8080").replace("web", "w b")).unwrap();
    let ended = check(&rules);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("nowhere") && ended.err.contains("w b"), "{}", ended.err);
    assert!(ended.err.contains("10-web.yaml:3:"), "{}", ended.err);

    let elsewhere = folder.path().join("mine.yaml");
    fs::write(&elsewhere, WEB).unwrap();
    fs::remove_file(&rules).unwrap();
    assert_eq!(check(&elsewhere).code, 1, "the host c is unknown there");
    let (main, mine) = (file.to_str().unwrap(), elsewhere.to_str().unwrap());
    assert_eq!(redirect(&nobody, &["check", "--config", main, mine]).code, 0);
}
