//! `redirect add --pid`: from what a real process has open to what is installed.
//! Each test has a network of its own, in which home's addresses are on `lo`.

use redirectd::dataplane::Dataplane;

use crate::{
    apart::{apart, ip},
    exits::{NO_GROUPS, Stranger},
    program::Program,
    server::{CONFIG, Server, eventually},
};

/// Runs `test` at home, with the addresses of [`CONFIG`].
fn at_home(test: impl FnOnce() + Send + 'static) {
    apart(|| {
        ip("address add 192.0.2.1/32 dev lo");
        ip("address add 2001:db8::1/128 dev lo");
        // Peers of the tests that speak from here.
        ip("address add 198.51.100.7/32 dev lo");
        test();
    });
}

/// What is installed, without the part of the names that is the process's id.
fn installed(server: &Server, pid: &str) -> Vec<String> {
    let installed = server.fake.installed().unwrap();
    let mut shown: Vec<String> = installed
        .iter()
        .map(|there| format!("{} {}", there.redirect.name.replace(pid, "PID"), there.redirect))
        .collect();
    shown.sort();
    shown
}

const SERVER: &str = "\
bound(TCP, V4, '0.0.0.0', 7001)
bound(TCP, V6, '::', 7002, 0)
bound(TCP, V6, '::', 7003, 1)
bound(UDP, V6, '::', 7004, 0)
bound(TCP, V4, '127.0.0.1', 7005)
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
there, done = os.pipe()
if os.fork() == 0:
    bound(UDP, V4, '192.0.2.1', 7006)
    if os.fork() == 0:
        bound(TCP, V6, '2001:db8::1', 7007)
        os.write(done, b'!')
    time.sleep(600)
os.read(there, 1)
";

#[test]
fn all_that_a_tree_listens_on_is_redirected_in_one_change() {
    at_home(|| {
        let server = Server::start();
        let program = Program::start(SERVER);
        let add = ["add", "--pid", &program.pid(), "--to", "c", "--no-check"];

        let planned = server.ok(&[&add[..], &["--dry-run"]].concat());
        assert!(planned.contains("tcp 192.0.2.1:7001 -> c (192.0.2.3:7001)"), "{planned}");
        assert_eq!(server.listed(), [""; 0]);

        let ended = server.redirect(&add);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.err.contains("tcp 127.0.0.1:7005 gets no redirect"), "{ended:?}");
        assert_eq!(
            installed(&server, &program.pid()),
            [
                "python3-PID-7001 tcp 192.0.2.1:7001 -> c (192.0.2.3:7001) for 0.0.0.0/0",
                "python3-PID-7002 tcp 192.0.2.1:7002 -> c (192.0.2.3:7002)",
                "python3-PID-7002.6 tcp [2001:db8::1]:7002 -> c ([2001:db8::3]:7002)",
                "python3-PID-7003 tcp [2001:db8::1]:7003 -> c ([2001:db8::3]:7003) for ::/0",
                "python3-PID-7004-udp udp 192.0.2.1:7004 -> c (192.0.2.3:7004)",
                "python3-PID-7004-udp.6 udp [2001:db8::1]:7004 -> c ([2001:db8::3]:7004)",
                "python3-PID-7006-udp udp 192.0.2.1:7006 -> c (192.0.2.3:7006)",
                "python3-PID-7007 tcp [2001:db8::1]:7007 -> c ([2001:db8::3]:7007)",
            ]
        );
        assert!(server.ok(&add).contains("exist and are the same; nothing changed"));
    });
}

#[test]
fn connections_it_has_made_are_redirected_for_their_peers() {
    at_home(|| {
        let server = Server::start();
        let _peer = Program::start("bound(TCP, V4, '198.51.100.7', 80)");
        let client = Program::start(
            "keep.append(socket.create_connection(('198.51.100.7', 80), 5, ('192.0.2.1', 40001)))\n\
             u = bound(UDP, V4, '192.0.2.1', 40002)\n\
             u.connect(('198.51.100.7', 53))\n",
        );
        server.ok(&["add", "mine", "--pid", &client.pid(), "--to", "d", "--flows", "follow"]);
        let to = "-> d (192.0.2.4:40001) for 198.51.100.7/32";
        let udp_to = "-> d (192.0.2.4:40002) for 198.51.100.7/32";
        assert_eq!(
            installed(&server, &client.pid()),
            [
                format!("mine-40001 tcp 192.0.2.1:40001 {to}"),
                format!("mine-40002-udp udp 192.0.2.1:40002 {udp_to}"),
            ]
        );
    });
}

#[test]
fn all_of_them_are_made_or_none() {
    at_home(|| {
        let server = Server::start();
        let program = Program::start(SERVER);
        server.ok(&["add", "web", "192.0.2.1:7006", "--to", "c", "--protocol", "udp"]);
        let add = ["add", "p", "--pid", &program.pid(), "--to", "c", "--no-check"];
        let said = server.fails(1, &add);
        assert!(said.contains("`web`") && said.contains("`p-7006-udp`"), "{said}");
        assert_eq!(server.listed(), ["web active"]);
        server.ok(&["remove", "web"]);

        // d has no IPv6 address, which some of the sockets need.
        let said = server.fails(2, &["add", "p", "--pid", &program.pid(), "--to", "d"]);
        assert!(said.contains("`p-7003`") || said.contains("`p-7007`"), "{said}");
        // Nobody listens at c.
        let said = server.fails(1, &["add", "p", "--pid", &program.pid(), "--to", "c"]);
        assert!(said.contains("nothing serves tcp at"), "{said}");
        assert_eq!(server.listed(), [""; 0]);
    });
}

#[test]
fn a_second_time_they_are_changed_together() {
    at_home(|| {
        let config = CONFIG.replace("d: 192.0.2.4", "d: [192.0.2.4, \"2001:db8::4\"]");
        let server = Server::start_with(&config);
        let program = Program::start(SERVER);
        let pid = program.pid();
        let add = |to, more: &[&'static str]| {
            server.redirect(&[&["add", "--pid", &pid, "--to", to, "--no-check"], more].concat())
        };
        assert_eq!(add("c", &[]).code, 0);
        let before = installed(&server, &pid);
        let refused = add("d", &[]);
        assert!(refused.code == 1 && refused.err.contains("--replace"), "{refused:?}");
        assert_eq!(installed(&server, &pid), before);
        assert_eq!(add("d", &["--replace"]).code, 0);
        let after = installed(&server, &pid);
        assert_eq!(after.len(), before.len());
        assert!(after.iter().all(|one| one.contains("-> d (")), "{after:?}");
    });
}

#[test]
fn what_has_no_sockets_for_peers_is_an_error_that_says_why() {
    at_home(|| {
        let server = Server::start();
        let program = Program::start("bound(TCP, V4, '127.0.0.1', 80)");
        let said = server.fails(1, &["add", "--pid", &program.pid(), "--to", "c"]);
        assert!(said.contains("no socket that peers elsewhere send to"), "{said}");
        assert!(said.contains("127.0.0.1:80") && said.contains("loopback"), "{said}");
    });
}

#[test]
fn a_connection_that_another_process_accepted_and_whose_port_it_keeps_is_warned_of() {
    at_home(|| {
        let server = Server::start();
        // As sshd does it: the child has the connection, the parent the port.
        let parent = Program::start(
            "port = bound(TCP, V4, '0.0.0.0', 7001)\n\
             keep.append(socket.create_connection(('192.0.2.1', 7001), 5, ('198.51.100.7', 0)))\n\
             connection, _ = port.accept()\n\
             child = os.fork()\n\
             if child == 0:\n    open('/proc/self/comm', 'w').write('session')\n    port.close()\n    keep[-1].close()\n    time.sleep(600)\n\
             connection.close()\n",
        );
        let children = format!("/proc/{0}/task/{0}/children", parent.pid());
        let child = std::fs::read_to_string(children).unwrap();
        let child = child.trim();
        // It closes the port in its own time.
        let planned = || server.redirect(&["add", "--pid", child, "--to", "c", "--dry-run"]);
        eventually("the child has the connection alone", || {
            planned().out.contains("for 198.51.100.7/32")
        });
        let ended = planned();
        assert!(ended.out.contains(&format!("session-{child}-7001")), "{ended:?}");
        assert!(
            ended.err.contains("another process takes packets at tcp 0.0.0.0:7001"),
            "{ended:?}"
        );
    });
}

#[test]
fn where_says_who_is_led_to_which_host() {
    at_home(|| {
        let server = Server::start();
        let program =
            Program::start("bound(TCP, V6, '::', 7001, 0); bound(UDP, V4, '0.0.0.0', 53)");
        let pid = program.pid();
        let rows = || {
            let said = server.ok(&["where", &pid]);
            let rows =
                said.lines().filter(|line| line.starts_with("tcp") || line.starts_with("udp"));
            rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(rows(), ["tcp *:7001 itself", "udp 0.0.0.0:53 itself"]);
        server.ok(&["add", "web", "192.0.2.1:7001", "--to", "c", "--no-check"]);
        assert_eq!(
            rows(),
            ["tcp *:7001 c (192.0.2.3:7001) all, at 192.0.2.1 web", "udp 0.0.0.0:53 itself"]
        );
        let it = server.json(&["where", &pid]);
        assert_eq!((&it["here"], &it["pid"]), (&true.into(), &pid.parse::<i32>().unwrap().into()));
        assert_eq!(it["sockets"][0]["redirects"][0]["name"], "web");
        server.ok(&["remove", "web"]);

        server.ok(&["add", "--pid", &pid, "--to", "c", "--no-check"]);
        drop(program);
        let said = server.ok(&["where", &pid]);
        assert!(said.contains("does not run here"), "{said}");
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("tcp 192.0.2.1:7001 c (192.0.2.3:7001)"), "{said}");
        let it = server.json(&["where", &pid]);
        assert_eq!((&it["here"], it["redirects"].as_array().unwrap().len()), (&false.into(), 3));
        let said = server.fails(1, &["where", "4194304"]);
        assert!(said.contains("no process 4194304"), "{said}");
    });
}

#[test]
fn whoever_is_no_process_here_is_refused_by_name() {
    at_home(|| {
        let server = Server::start();
        let said = server.fails(1, &["add", "--pid", "4194304", "--to", "c"]);
        assert!(said.contains("no process 4194304"), "{said}");
        for nonsense in ["0", "-1", "web"] {
            server.fails(2, &["add", "--pid", nonsense, "--to", "c"]);
        }
        server.fails(2, &["add", "name", "80", "--pid", "1", "--to", "c"]);
        let program = Program::start("bound(TCP, V4, '0.0.0.0', 80)");
        let said = server.fails(2, &["add", "--pid", &program.pid(), "--to", "c:80"]);
        assert!(said.contains("each socket keeps its own"), "{said}");

        let elsewhere = Program::run_by(&["unshare", "--net"], "bound(TCP, V4, '0.0.0.0', 80)");
        let said = server.fails(1, &["add", "--pid", &elsewhere.pid(), "--to", "c"]);
        assert!(said.contains("another network namespace"), "{said}");
        let said = server.fails(1, &["where", &elsewhere.pid()]);
        assert!(said.contains("another network namespace"), "{said}");
        assert_eq!(server.listed(), [""; 0]);
    });
}

#[test]
fn other_users_processes_are_root_s_to_look_at() {
    at_home(|| {
        let server = Server::start();
        let program = Program::start("bound(TCP, V4, '0.0.0.0', 80)");
        let add = ["add", "--pid", &program.pid(), "--to", "c", "--no-check"];
        let ended = Stranger::beside(&server).redirect(NO_GROUPS, &add);
        assert_eq!(ended.code, 4, "{ended:?}");
        assert!(ended.err.contains("as root"), "{ended:?}");
    });
}
