//! What the command line cannot bring about: a disk that fails at one moment or
//! the other, a kernel that fails right after.

mod crashes;
mod memory;
mod mortal;
mod moves;

use self::memory::{Disk, Memory, Paper};
use super::*;
use crate::{
    api::{
        events::Happening,
        types::{AddAllRequest, AddRequest, RemoveRequest},
    },
    config::{self, Spec},
    dataplane::fake::Fake,
    rule::{Protocol, Redirect},
};

fn configuration() -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redirectd.yaml");
    std::fs::write(&path, "version: 1\nhome: 192.0.2.1\n").unwrap();
    config::load(&path).unwrap()
}

fn start(fake: &Fake, disk: &Memory) -> Daemon {
    Daemon::start(Parts {
        dataplane: Box::new(fake.clone()),
        store: Box::new(disk.clone()),
        journal: Box::new(Paper::default()),
        config: configuration(),
        config_path: PathBuf::from("/nowhere"),
        replace: false,
    })
    .unwrap()
}

fn add(daemon: &mut Daemon, name: &str, home: &str) -> Result<ChangeReport, Error> {
    let request = AddRequest {
        name: name.to_owned(),
        redirect: Spec { home: home.to_owned(), to: "192.0.2.3".to_owned(), ..Spec::default() },
        replace: true,
        check: false,
        dry_run: false,
    };
    add_all(daemon, &request.into())
}

fn add_all(daemon: &mut Daemon, request: &AddAllRequest) -> Result<ChangeReport, Error> {
    let read = |addition| daemon.read_addition(addition, &BTreeMap::new());
    let redirects = request.additions.iter().map(read).collect::<Result<_, _>>()?;
    daemon.add(request, redirects)
}

fn remove(daemon: &mut Daemon, name: &str) -> Result<ChangeReport, Error> {
    let names = vec![name.to_owned()];
    daemon.remove(&RemoveRequest { names, removal: Removal::Drain })
}

/// What is in force, according to the daemon, the kernel and the disk.
fn everywhere(daemon: &Daemon, fake: &Fake, disk: &Memory) -> [Vec<Redirect>; 3] {
    let sorted = |redirects: Vec<Redirect>| {
        let set = RedirectSet::new(redirects).unwrap();
        set.iter().cloned().collect::<Vec<_>>()
    };
    let installed = fake.installed().unwrap().into_iter();
    let active = installed.filter(|there| there.state == State::Active);
    [
        sorted(daemon.desired.all().iter().cloned().collect()),
        sorted(active.map(|there| there.redirect).collect()),
        sorted(disk.0.lock().unwrap().kept.clone()),
    ]
}

#[track_caller]
fn agree(daemon: &Daemon, fake: &Fake, disk: &Memory) -> Vec<Redirect> {
    let [believed, installed, kept] = everywhere(daemon, fake, disk);
    assert_eq!(believed, installed, "daemon and kernel");
    assert_eq!(believed, kept, "daemon and disk");
    believed
}

#[test]
fn a_failure_at_any_step_of_any_change_changes_nothing() {
    let (fake, disk) = (Fake::new(16, &[]), Memory::default());
    let mut daemon = start(&fake, &disk);
    add(&mut daemon, "web", "80").unwrap();
    fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40000");
    let before = agree(&daemon, &fake, &disk);

    let arrangements: [fn(&Fake, &mut Disk, bool); 3] = [
        |_, disk, fails| disk.fail_stage = fails,
        |fake, _, fails| fake.fail_change(fails.then_some(0)),
        |_, disk, fails| disk.fail_commit = fails,
    ];
    for arrange in arrangements {
        let mut events = daemon.events().subscribe();
        arrange(&fake, &mut disk.0.lock().unwrap(), true);
        add(&mut daemon, "mail", "25").unwrap_err();
        add(&mut daemon, "web", "81").unwrap_err();
        remove(&mut daemon, "web").unwrap_err();
        arrange(&fake, &mut disk.0.lock().unwrap(), false);
        assert_eq!(agree(&daemon, &fake, &disk), before);
        assert!(events.try_recv().is_err(), "nothing happened, and nothing is told");
        assert!(disk.0.lock().unwrap().staged.is_none(), "nothing lies about");
    }
    assert_eq!(daemon.in_force(), Ok(()));
    add(&mut daemon, "mail", "25").unwrap();
    assert_eq!(agree(&daemon, &fake, &disk).len(), 2);
}

#[test]
fn a_step_back_that_fails_is_tried_again() {
    let (fake, disk) = (Fake::new(16, &[]), Memory::default());
    let mut daemon = start(&fake, &disk);
    add(&mut daemon, "web", "80").unwrap();

    disk.0.lock().unwrap().fail_commit = true;
    fake.fail_after(1);
    add(&mut daemon, "mail", "25").unwrap_err();
    let [believed, installed, kept] = everywhere(&daemon, &fake, &disk);
    assert_eq!(believed, kept, "what is desired has not changed");
    assert_ne!(believed, installed, "but the kernel has");
    assert!(daemon.in_force().is_err(), "and the daemon knows");

    fake.fail_change(None);
    daemon.tick();
    assert_eq!(agree(&daemon, &fake, &disk), believed);
    assert_eq!(daemon.in_force(), Ok(()));
}

#[test]
fn a_start_takes_over_what_an_earlier_daemon_left() {
    let (fake, disk) = (Fake::new(16, &[]), Memory::default());
    let mut daemon = start(&fake, &disk);
    for (name, home) in [("web", "80"), ("mail", "25"), ("dns", "53")] {
        add(&mut daemon, name, home).unwrap();
    }
    fake.open_flow("mail", Protocol::Tcp, "198.51.100.7:40000");
    remove(&mut daemon, "mail").unwrap();
    drop(daemon);
    // It died after the kernel took a change and before the disk did.
    disk.0.lock().unwrap().kept.retain(|redirect| redirect.name != "dns");

    let mut daemon = start(&fake, &disk);
    assert_eq!(agree(&daemon, &fake, &disk).len(), 1);
    let mut events = daemon.events().subscribe();
    fake.silence(daemon.config.timers.tcp_established);
    daemon.tick();
    let told = events.try_recv().unwrap().what;
    assert_eq!(told, Happening::RedirectDrained { name: "mail".to_owned() });
}
