//! `redirect inspect`, of real processes: no daemon is needed for that.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{
    apart::apart,
    exits::{NO_GROUPS, Stranger},
    program::Program,
    server::{Ended, Server, eventually, redirect},
};

/// `redirect inspect`, with nobody at the socket.
fn inspect(arguments: &[&str]) -> Ended {
    redirect(Path::new("/no/such/socket"), &[&["inspect"], arguments].concat())
}

/// What it prints with `--json`.
#[track_caller]
fn inventory(pid: &str, more: &[&str]) -> Value {
    let ended = inspect(&[&[pid, "--json"], more].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// The obstacles to moving `program`, except that its standard input and output
/// are pipes of this test, and that its session is whose this test is.
#[track_caller]
pub(crate) fn obstacles(program: &Program) -> Vec<Value> {
    obstacles_of(&program.pid())
}

#[track_caller]
fn obstacles_of(pid: &str) -> Vec<Value> {
    let inventory = inventory(pid, &[]);
    let mut obstacles = inventory["obstacles"].as_array().unwrap().clone();
    // Where root has not all capabilities, some processes are hidden from it.
    obstacles.retain(|one| {
        !["pipe", "session", "incomplete"].contains(&one["reason"].as_str().unwrap())
    });
    let stopped = obstacles.iter().any(|one| one["stops"] == true);
    assert_eq!(inventory["movable"], !stopped);
    obstacles
}

/// Asserts that there is one obstacle, of this class, and that it says all of
/// `parts`.
#[track_caller]
pub(crate) fn only(obstacles: &[Value], reason: &str, parts: &[&str]) {
    let [obstacle] = obstacles else { panic!("not one: {obstacles:#?}") };
    assert_eq!(obstacle["reason"], reason);
    for part in parts {
        assert!(obstacle["what"].as_str().unwrap().contains(part), "{part} in {obstacle}");
    }
}

fn in_list(list: &Value, is: impl Fn(&Value) -> bool) -> &Value {
    let found = list.as_array().unwrap().iter().find(|one| is(one));
    found.unwrap_or_else(|| panic!("not in {list:#}"))
}

#[test]
fn a_server_is_told_with_its_descendants_sockets_memory_and_files() {
    apart(|| {
        let program = Program::start(
            "bound(TCP, V6, '::', 80, 0)\n\
             deleted = tempfile.TemporaryFile()\n\
             deleted.write(b'x' * 5000); deleted.flush()\n\
             null = open('/dev/null')\n\
             touched = b'x' * 40_000_000\n\
             shared = mmap.mmap(-1, 1 << 20)\n\
             there, done = os.pipe()\n\
             if os.fork() == 0:\n    \
                 bound(UDP, V4, '127.0.0.1', 53)\n    \
                 threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n    \
                 os.write(done, b'!')\n    time.sleep(600)\n\
             os.read(there, 1)\n",
        );
        let pid: i32 = program.pid().parse().unwrap();
        let it = inventory(&program.pid(), &[]);
        let [parent, child] = it["processes"].as_array().unwrap().as_slice() else {
            panic!("not two: {:#}", it["processes"])
        };
        assert_eq!((&parent["pid"], &parent["name"]), (&pid.into(), &"python3".into()));
        assert_eq!(
            (&child["parent"], child["threads"].as_array().unwrap().len()),
            (&pid.into(), 2)
        );

        let tcp = in_list(&it["sockets"]["inet"], |socket| socket["protocol"] == "tcp");
        assert_eq!((&tcp["local"], &tcp["both_families"]), (&"[::]:80".into(), &true.into()));
        assert_eq!(tcp["holders"].as_array().unwrap().len(), 2, "both have it");
        in_list(&it["sockets"]["inet"], |socket| socket["local"] == "127.0.0.1:53");

        let deleted = in_list(&it["files"], |file| file["deleted"] == true);
        assert_eq!((&deleted["size"], &deleted["written"]), (&5000.into(), &true.into()));
        let null = in_list(&it["files"], |file| file["path"] == "/dev/null");
        assert_eq!(null["kind"], "harmless-device");
        let libc = |file: &Value| file["path"].as_str().unwrap().contains("/libc.so");
        assert_eq!(in_list(&it["files"], libc)["mapped"].as_array().unwrap().len(), 2);

        let copy = it["memory"]["to_copy"].as_u64().unwrap();
        assert!((40_000_000..400_000_000).contains(&copy), "{copy}");
        let shared = in_list(&it["memory"]["shared"], |memory| memory["size"] == 1 << 20);
        assert!(shared["strangers"].is_null(), "only its child has it: {shared}");

        let said = inspect(&[&program.pid()]).out;
        for part in ["2, 3 threads", "*:80", "127.0.0.1:53", "deleted, goes along", "it can move"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    });
}

#[test]
fn a_plain_server_can_move() {
    apart(|| {
        let program = Program::start("bound(TCP, V4, '0.0.0.0', 80)");
        assert_eq!(obstacles(&program), [Value::Null; 0]);
    });
}

#[test]
fn multipath_tcp_is_known_by_its_listener() {
    apart(|| {
        let program = Program::start("bound(TCP, V4, '0.0.0.0', 80, None, 262)");
        only(&obstacles(&program), "multipath-tcp", &["0.0.0.0:80", "(python3)"]);
        let said = inspect(&[&program.pid()]).out;
        assert!(
            said.contains("GODEBUG=multipathtcp=0") && said.contains("it cannot move"),
            "{said}"
        );
    });
}

#[test]
fn a_connection_by_loopback_with_another_process_is_in_the_way() {
    apart(|| {
        let _database = Program::start("bound(TCP, V4, '127.0.0.1', 5432)");
        let program = Program::start("keep.append(socket.create_connection(('127.0.0.1', 5432)))");
        only(&obstacles(&program), "local-address", &["127.0.0.1:5432", "loopback"]);
    });
}

#[test]
fn a_device_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    // Of a number for experiments, so that no driver is needed.
    let program = Program::start(&format!(
        "os.mknod('{0}', 0o20600, os.makedev(240, 7))\nkeep.append(os.open('{0}', os.O_PATH))",
        path.display()
    ));
    only(&obstacles(&program), "device", &["/device of this machine"]);
}

#[test]
fn a_file_that_was_renamed_is_in_the_way_and_a_deleted_one_goes_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let program = Program::start(&format!(
        "path = '{}'\n\
         f = open(path, 'w'); os.link(path, path + '.1'); os.unlink(path)\n\
         g = open(path, 'w'); os.unlink(path)",
        path.display()
    ));
    only(&obstacles(&program), "renamed-file", &["/log any more"]);
}

#[test]
fn memory_that_strangers_write_to_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared");
    std::fs::write(&path, [0; 4096]).unwrap();
    let path = path.to_str().unwrap();
    let mapping = format!("f = open('{path}', 'r+b'); m = mmap.mmap(f.fileno(), 4096)");
    let program = Program::start(&mapping);
    assert_eq!(obstacles(&program), [Value::Null; 0], "it is alone");
    let stranger = Program::start(&mapping);
    only(&obstacles(&program), "shared-memory", &[path, &format!("{} (python3)", stranger.pid())]);
}

#[test]
fn memory_without_a_file_is_followed_as_well() {
    let owner = Program::start(
        "f = os.memfd_create('ring'); os.ftruncate(f, 4096)\nm = mmap.mmap(f, 4096)",
    );
    // As one does who is given the descriptor.
    let _stranger = Program::start(&format!(
        "import glob\n\
         for link in glob.glob('/proc/{}/fd/*'):\n    \
             if 'memfd:ring' in os.readlink(link):\n        \
                 f = open(link, 'r+b'); m = mmap.mmap(f.fileno(), 4096)\n        break\n\
         m.size()",
        owner.pid()
    ));
    only(&obstacles(&owner), "shared-memory", &["/memfd:ring"]);
}

#[test]
fn a_session_that_others_are_of_is_another_one_afterwards() {
    // The program leads its process group already, so that only a child can have a
    // session; its own child is of that session.
    let program = Program::start(
        "there, done = os.pipe()\n\
         if os.fork() == 0:\n    os.setsid()\n    \
             if os.fork() == 0:\n        os.write(done, b'!')\n    \
             time.sleep(600)\n\
         os.read(there, 1)",
    );
    let processes = inventory(&program.pid(), &[])["processes"].clone();
    let [_, leader, other] = processes.as_array().unwrap().as_slice() else {
        panic!("not three: {processes:#}")
    };
    let of_session = |process: &Value| {
        let it = inventory(&process["pid"].to_string(), &[]);
        let found = it["obstacles"].as_array().unwrap().iter();
        found.filter(|one| one["reason"] == "session").cloned().collect::<Vec<_>>()
    };
    only(&of_session(other), "session", &[&format!("of session {}", leader["pid"])]);
    assert_eq!(of_session(other)[0]["stops"], false);
    assert_eq!(of_session(leader), [Value::Null; 0], "it leads it");
}

#[test]
fn datagrams_go_to_the_host_s_own_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let path = path.to_str().unwrap();
    let unix = "socket.socket(socket.AF_UNIX, UDP)";
    let _logger = Program::start(&format!("s = {unix}; s.bind('{path}')"));
    let program = Program::start(&format!("s = {unix}; s.connect('{path}')"));
    let obstacles = obstacles(&program);
    only(&obstacles, "unix-socket", &[path, "that of the host"]);
    assert_eq!(obstacles[0]["stops"], false);
}

#[test]
fn the_other_end_of_a_unix_socket_may_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let path = path.to_str().unwrap();
    let unix = "socket.socket(socket.AF_UNIX, TCP)";
    let logger = Program::start(&format!("s = {unix}; s.bind('{path}'); s.listen()"));
    let program =
        Program::start(&format!("s = {unix}; s.connect('{path}'); p = socket.socketpair()"));
    only(&obstacles(&program), "unix-socket", &[path]);
    // Once it is accepted, its other end is the logger's own.
    drop(logger);
    let accepts = format!(
        "os.unlink('{path}'); s = {unix}; s.bind('{path}'); s.listen()\n\
                           threading.Thread(target=lambda: keep.append(s.accept()), daemon=True).start()"
    );
    let logger = Program::start(&accepts);
    let program = Program::start(&format!("s = {unix}; s.connect('{path}')"));
    let whose = format!("{path} of {} (python3)", logger.pid());
    eventually("it is accepted", || {
        obstacles(&program)[0]["what"].as_str().unwrap().contains(&whose)
    });
    only(&obstacles(&program), "unix-socket", &[&whose]);
}

#[test]
fn the_other_end_of_a_pipe_is_named() {
    let program = Program::start("");
    let it = inventory(&program.pid(), &[]);
    let own = format!("with {} (", std::process::id());
    let pipe = in_list(&it["obstacles"], |one| one["what"].as_str().unwrap().contains(&own));
    assert_eq!((&pipe["reason"], &pipe["stops"]), (&"pipe".into(), &false.into()));
}

#[test]
fn a_debugger_is_in_the_way() {
    let program = Program::start(
        "there, done = os.pipe()\n\
         if os.fork() == 0:\n    \
             ctypes.CDLL(None).ptrace(0, 0, None, None)\n    \
             os.write(done, b'!')\n    time.sleep(600)\n\
         os.read(there, 1)\n",
    );
    only(&obstacles(&program), "debugger", &[&format!("process {}", program.pid())]);
}

#[test]
fn a_terminal_stays_unless_its_emulator_goes_along() {
    let emulator = Program::start(
        "import pty\nchild, master = pty.fork()\nif child == 0:\n    time.sleep(600)\n",
    );
    assert_eq!(obstacles(&emulator), [Value::Null; 0]);
    let it = inventory(&emulator.pid(), &[]);
    let child = it["processes"][1]["pid"].to_string();
    only(&obstacles_of(&child), "terminal", &["/dev/pts/"]);
    // As some shells do; CRIU does not find out which terminal that is.
    let by_its_other_name = Program::start(
        "import pty\nchild, master = pty.fork()\nif child == 0:\n    \
             tty = open('/dev/tty'); os.write(1, b'!'); time.sleep(600)\n\
         os.read(master, 1)",
    );
    only(&obstacles(&by_its_other_name), "terminal", &["/dev/tty"]);
}

#[test]
fn objects_that_cannot_be_saved_are_named() {
    // bpf(BPF_PROG_LOAD) of `return 0`, for a socket filter.
    let program = Program::start(
        "import struct\n\
         code = ctypes.create_string_buffer(bytes.fromhex('b700000000000000' '9500000000000000'))\n\
         licence = ctypes.create_string_buffer(b'MIT')\n\
         attributes = ctypes.create_string_buffer(struct.pack('IIQQ', 1, 2, \
         ctypes.addressof(code), ctypes.addressof(licence)), 128)\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         number = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]\n\
         assert libc.syscall(number, 5, attributes, 128) >= 0, os.strerror(ctypes.get_errno())\n\
         import select; e = select.epoll(); own = os.pidfd_open(os.getpid())",
    );
    only(&obstacles(&program), "kernel-object", &["bpf-prog"]);
    let program = Program::start("parent = os.pidfd_open(os.getppid())");
    only(&obstacles(&program), "kernel-object", &["pidfd of another process"]);
}

#[test]
fn files_that_have_to_be_there_are_told_with_what_is_in_them() {
    let program = Program::start("");
    let it = inventory(&program.pid(), &["--hash"]);
    // Not any file: what the tests write to is open in it as well, and grows.
    let libc = in_list(&it["files"], |file| file["path"].as_str().unwrap().contains("/libc.so"));
    let path = libc["path"].as_str().unwrap();
    let sum = Command::new("sha256sum").arg(path).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert!(sum.starts_with(libc["sha256"].as_str().unwrap()), "{sum}");
}

#[test]
fn a_process_of_another_namespace_is_looked_at_where_it_is() {
    let wrapper = ["unshare", "--net", "--pid", "--fork", "--kill-child"];
    let program = Program::run_by(&wrapper, "bound(TCP, V4, '0.0.0.0', 80)");
    let it = inventory(&program.pid(), &[]);
    in_list(&it["sockets"]["inet"], |socket| socket["local"] == "0.0.0.0:80");
    // unshare itself stays outside of the pid namespace that it has made.
    let [unshare, python] = it["processes"].as_array().unwrap().as_slice() else {
        panic!("not two: {:#}", it["processes"])
    };
    assert_eq!(unshare["threads"][0], unshare["pid"]);
    assert_eq!(python["threads"], serde_json::json!([1]));
    assert_eq!(it["namespaces"]["elsewhere"], serde_json::json!(["net"]));
    only(&obstacles(&program), "namespace", &["another pid namespace"]);
    let its_own = python["pid"].to_string();
    only(&obstacles_of(&its_own), "namespace", &["a pid namespace of its own"]);
}

#[test]
fn whoever_asks_for_itself_is_told() {
    let shell = "echo $$; \"$0\" inspect $$ --json; true";
    let output =
        Command::new("sh").args(["-c", shell, env!("CARGO_BIN_EXE_redirect")]).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let (pid, json) = out.split_once('\n').unwrap();
    let it: Value = serde_json::from_str(json).unwrap();
    let asker = in_list(&it["obstacles"], |one| one["reason"] == "asker");
    assert!(asker["what"].as_str().unwrap().contains(&format!("of process {pid}")), "{asker}");
}

#[test]
fn whoever_is_no_process_is_refused() {
    assert_eq!(inspect(&["4194304"]).code, 1);
    assert_eq!(inspect(&["0"]).code, 2);
    assert_eq!(inspect(&["web"]).code, 2);
    assert_eq!(inspect(&[]).code, 2);
    let program =
        Program::start("threading.Thread(target=time.sleep, args=(600,), daemon=True).start()");
    let threads = inventory(&program.pid(), &[])["processes"][0]["threads"].clone();
    let ended = inspect(&[&threads[1].to_string()]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains(&format!("a thread of process {}", program.pid())), "{ended:?}");
}

#[test]
fn its_owner_may_look_at_a_process_and_others_may_not() {
    let server = Server::start();
    let stranger = Stranger::beside(&server);
    let program = Program::start("");
    let ended = stranger.redirect(NO_GROUPS, &["inspect", &program.pid()]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("as root"), "{ended:?}");

    let user = ["--reuid=4242", "--regid=4242", "--clear-groups", "--", "sleep", "600"];
    let mut own = Command::new("setpriv").args(user).spawn().unwrap();
    let look = || stranger.redirect(NO_GROUPS, &["inspect", &own.id().to_string(), "--json"]);
    eventually("it is the stranger's", || look().code == 0);
    let ended = look();
    own.kill().unwrap();
    own.wait().unwrap();
    let it: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&it["processes"][0]["user"], &it["incomplete"]), (&4242.into(), &true.into()));
}
