//! Crashes at any point, damage of any kind, and growth.

use super::*;
use crate::{
    dataplane::Removal,
    rule::{PortRange, Protocol},
};

fn redirect(name: &str, port: u16) -> Redirect {
    Redirect {
        name: name.to_owned(),
        protocols: vec![Protocol::Tcp],
        home: "192.0.2.1".parse().unwrap(),
        ports: PortRange::single(port).unwrap(),
        target: "192.0.2.3".parse().unwrap(),
        target_port: port,
        host: None,
        peers: Vec::new(),
        mode: Default::default(),
        flows: Default::default(),
    }
}

/// A store and what ought to be in it.
struct Kept {
    folder: tempfile::TempDir,
    store: FileStore,
    all: RedirectSet,
}

impl Kept {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut store = FileStore::new(folder.path());
        assert_eq!(store.load().unwrap(), []);
        Self { folder, store, all: RedirectSet::default() }
    }

    fn stage(&mut self, change: Change) {
        match &change {
            Change::Add(redirect) => self.all.insert(redirect.clone()).unwrap(),
            Change::Remove { redirect, .. } => drop(self.all.remove(&redirect.name).unwrap()),
            Change::Update { from, to } => {
                self.all.remove(&from.name).unwrap();
                self.all.insert(to.clone()).unwrap();
            }
        }
        self.store.stage(&[change], &self.all).unwrap();
    }

    fn make(&mut self, change: Change) {
        self.stage(change);
        self.store.commit().unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn wanted(&self) -> Vec<Redirect> {
        self.all.iter().cloned().collect()
    }
}

fn load(folder: &Path) -> Result<Vec<Redirect>, Error> {
    FileStore::new(folder).load()
}

fn removal(redirect: Redirect) -> Change {
    Change::Remove { redirect, removal: Removal::Drain }
}

#[test]
fn changes_are_there_after_a_restart_and_further_ones_follow() {
    let mut kept = Kept::new();
    let (web, mail) = (redirect("web", 80), redirect("mail", 25));
    kept.make(Change::Add(web.clone()));
    kept.make(Change::Add(mail.clone()));
    kept.make(Change::Update { from: web.clone(), to: redirect("web", 81) });
    assert_eq!(load(kept.folder.path()).unwrap(), kept.wanted());

    kept.store = FileStore::new(kept.folder.path());
    kept.store.load().unwrap();
    kept.make(removal(mail));
    assert_eq!(load(kept.folder.path()).unwrap(), [redirect("web", 81)]);
}

#[test]
fn what_is_staged_and_not_committed_never_was() {
    let mut kept = Kept::new();
    kept.make(Change::Add(redirect("web", 80)));
    let before = kept.wanted();
    for long in [false, true] {
        kept.store.torn = long;
        kept.stage(Change::Add(redirect("mail", 25)));
        assert_eq!(load(kept.folder.path()).unwrap(), before, "a crash here");
        kept.store.discard();
        assert_eq!(load(kept.folder.path()).unwrap(), before);
        kept.all.remove("mail").unwrap();
    }
    assert!(!kept.path("redirects.json.new").exists());
}

#[test]
fn a_journal_cut_off_anywhere_holds_all_that_was_confirmed_before() {
    let mut kept = Kept::new();
    let mut states = vec![(0, kept.wanted())];
    for port in 1..=2 {
        kept.make(Change::Add(redirect(&format!("r{port}"), port)));
        let length = fs::metadata(kept.path("redirects.journal")).unwrap().len() as usize;
        states.push((length, kept.wanted()));
    }
    let journal = fs::read(kept.path("redirects.journal")).unwrap();
    for cut in 0..=journal.len() {
        fs::write(kept.path("redirects.journal"), &journal[..cut]).unwrap();
        let mut store = FileStore::new(kept.folder.path());
        let expected = &states.iter().rfind(|(length, _)| *length <= cut).unwrap().1;
        assert_eq!(store.load().as_ref(), Ok(expected), "cut at {cut}");

        // And what is added to it then is found again. (Not after each: it is
        // synced to the disk.)
        if cut % 16 != 0 {
            continue;
        }
        let late = redirect("late", 99);
        let all = RedirectSet::new(expected.iter().cloned().chain([late.clone()])).unwrap();
        store.stage(&[Change::Add(late)], &all).unwrap();
        store.commit().unwrap();
        let found = load(kept.folder.path()).unwrap();
        assert_eq!(found, all.iter().cloned().collect::<Vec<_>>(), "cut at {cut}");
        let _ = fs::remove_file(kept.path("redirects.json"));
    }
}

#[test]
fn a_long_journal_becomes_a_new_generation_and_an_old_one_counts_for_nothing() {
    let mut kept = Kept::new();
    let (web, other) = (redirect("web", 80), redirect("web", 81));
    kept.make(Change::Add(web.clone()));
    let mut old = Vec::new();
    while kept.store.generation < 2 {
        kept.make(Change::Update { from: web.clone(), to: other.clone() });
        kept.make(Change::Update { from: other.clone(), to: web.clone() });
        if kept.store.generation == 1 {
            old = fs::read(kept.path("redirects.journal")).unwrap();
        }
    }
    assert_eq!(load(kept.folder.path()).unwrap(), kept.wanted());
    // As after a crash right after the rename.
    fs::write(kept.path("redirects.journal"), old).unwrap();
    assert_eq!(load(kept.folder.path()).unwrap(), kept.wanted());
}

#[test]
fn damage_is_named_with_its_place_and_nothing_is_overwritten() {
    let mut kept = Kept::new();
    kept.make(Change::Add(redirect("web", 80)));
    kept.make(removal(redirect("web", 80)));
    let journal = fs::read_to_string(kept.path("redirects.journal")).unwrap();
    let mut lines: Vec<&str> = journal.lines().collect();
    for (line, damage) in [
        (1, "{\"add\":[{\"name\":\"web\"}]}"),
        (1, "not json"),
        (1, "{\"remove\":[\"nothing\"]}"),
        (0, "{\"version\":7,\"generation\":0}"),
    ] {
        let whole = mem::replace(&mut lines[line], damage);
        let text = lines.join("\n") + "\n";
        fs::write(kept.path("redirects.journal"), &text).unwrap();
        let error = load(kept.folder.path()).unwrap_err();
        assert!(error.what.contains("redirects.journal"), "{error}");
        assert!(error.cure.is_some(), "{error}");
        assert_eq!(fs::read_to_string(kept.path("redirects.journal")).unwrap(), text);
        lines[line] = whole;
    }
}

#[test]
fn one_change_beside_many_writes_little() {
    let mut kept = Kept::new();
    let many: Vec<Redirect> = (1..=2_000).map(|port| redirect(&format!("r{port}"), port)).collect();
    kept.all = RedirectSet::new(many.clone()).unwrap();
    let changes: Vec<Change> = many.into_iter().map(Change::Add).collect();
    kept.store.stage(&changes, &kept.all).unwrap();
    kept.store.commit().unwrap();
    assert_eq!(kept.store.generation, 1, "many at once are written whole");
    let whole = fs::read(kept.path("redirects.json")).unwrap();
    kept.make(Change::Add(redirect("web", 8_080)));
    assert_eq!(fs::read(kept.path("redirects.json")).unwrap(), whole);
    assert!(fs::metadata(kept.path("redirects.journal")).unwrap().len() < 1_000);
    assert_eq!(load(kept.folder.path()).unwrap(), kept.wanted());
}

#[test]
fn a_disk_without_room_fails_before_anything_is_changed() {
    let mut kept = Kept::new();
    kept.make(Change::Add(redirect("web", 80)));
    let before = kept.wanted();
    // A folder in the way of the file is what root cannot write over either.
    fs::create_dir(kept.path("redirects.json.new")).unwrap();
    kept.store.torn = true;
    kept.all.insert(redirect("mail", 25)).unwrap();
    let error = kept.store.stage(&[Change::Add(redirect("mail", 25))], &kept.all).unwrap_err();
    assert!(error.cure.is_some(), "{error}");
    assert_eq!(load(kept.folder.path()).unwrap(), before);
}
