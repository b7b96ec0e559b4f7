//! One move from its beginning to its end: looks at both machines, says what is in
//! the way, and has the process go.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::Method;

use super::{
    Failed, Watch, conduct,
    ends::{End, Source, locked, must_be_elsewhere},
    journal::Journal,
    report::Report,
};
use crate::{
    api::{
        client::Client,
        moves::{BeginRequest, DEFAULT_TIMEOUT, MoveView},
    },
    error::{Error, Kind},
    migrate::{
        away::Traveller,
        criu::Criu,
        handover::{Passage, Welcome},
        memory::{Choice, Situation, Wish, choose, must_fit},
    },
    process::{Inventory, Needs, Obstacle, Reason, misfits, obstacles},
};

/// Which process goes where.
#[derive(Debug, Clone)]
pub struct Journey {
    /// The process.
    pub pid: i32,
    /// The node it is on, or `home`, if that is said.
    pub from: Option<String>,
    /// The node it goes to, or `home`.
    pub to: String,
    /// How long it may be frozen; a minute if nothing is said.
    pub timeout: Option<Duration>,
    /// It goes though it is locked.
    pub though_locked: bool,
    /// How its memory is to go.
    pub memory: Wish,
    /// The directory in which this node's key is.
    pub state_dir: PathBuf,
}

/// A journey that can be looked at, and begun.
#[derive(Debug)]
pub struct Prepared {
    journey: Journey,
    ends: (End, End),
    /// What the process is made of.
    pub inventory: Inventory,
    /// All that is in the way, on both machines; what stops it first.
    pub obstacles: Vec<Obstacle>,
    /// How its memory goes; none if it cannot go as it should.
    pub memory: Option<Choice>,
    /// The redirects that it left home by, if it did.
    pub redirects: Vec<String>,
}

impl Journey {
    /// Looks at the process and both machines; changes nothing.
    ///
    /// # Errors
    /// There is no such process, or a machine is not reached.
    pub async fn prepare(self, client: &Client) -> Result<Prepared, Error> {
        let at = Source::of(self.pid, self.from.as_deref(), client).await?;
        let state_dir: &Path = &self.state_dir;
        let (mut source, inventory) = at.look(self.pid, state_dir).await?;
        must_be_elsewhere(&inventory, &at, &self.to)?;
        let mut destination = End::called(&self.to, state_dir).await?;
        let welcome = destination.welcome(Needs::from(&inventory)).await?;
        let here = source.welcome(Needs::default()).await?;
        let situation = Situation {
            memory: inventory.memory.to_copy,
            home: here.features.unwrap_or_default(),
            host: welcome.features.unwrap_or_default(),
            link: None,
        };
        let mut obstacles = in_the_way(&source, &inventory, &welcome, &self.to);
        if !self.though_locked {
            obstacles.splice(0..0, locked(client, &inventory).await?);
        }
        let memory = choose(self.memory, &situation);
        if let Ok(Choice { way, .. }) = &memory {
            for (name, room) in [(at.name(), here.room), (&self.to, welcome.room)] {
                let fits = must_fit(*way, situation.memory, room.unwrap_or(u64::MAX));
                let there =
                    fits.map_err(|why| Error { what: format!("{name}: {}", why.what), ..why });
                obstacles.splice(0..0, there.err().map(|error| obstacle(error, &inventory)));
            }
        }
        if let Err(error) = &memory {
            obstacles.insert(0, obstacle(error.clone(), &inventory));
        }
        let (memory, ends) = (memory.ok(), (source, destination));
        let redirects = at.redirects().to_vec();
        Ok(Prepared { journey: self, ends, inventory, obstacles, memory, redirects })
    }
}

impl Prepared {
    /// Whether it can go as it is.
    ///
    /// # Errors
    /// It cannot: all that stops it, each with its cure.
    pub fn must_be_free(&self) -> Result<(), Error> {
        let stopping: Vec<String> = self
            .obstacles
            .iter()
            .filter(|obstacle| obstacle.stops)
            .map(|obstacle| format!("\n  {}\n    cure: {}", obstacle.what, obstacle.cure))
            .collect();
        if stopping.is_empty() {
            return Ok(());
        }
        let root = self.inventory.root();
        let what = format!(
            "process {} ({}) cannot move to {}; it goes on where it is:{}",
            root.pid,
            root.name.escape_debug(),
            self.journey.to,
            stopping.concat()
        );
        Err(Error::new(Kind::Failed, what).cure("clear these, and ask again with --dry-run"))
    }

    /// Has it go by `redirects`, which are there; those `made` for it go again if it
    /// stays. If its memory goes ahead or follows, `watch` is told how far that is; of what
    /// follows for the first time before the process is the destination's. From then on this
    /// must not be dropped.
    ///
    /// # Errors
    /// It is where it was, unless the error says otherwise.
    pub async fn go(
        self,
        client: &Client,
        (redirects, made): (Vec<String>, Vec<String>),
        watch: &Watch<'_>,
    ) -> Result<Report, Failed> {
        let (pid, name) = (self.journey.pid, self.inventory.root().name.clone());
        let request = BeginRequest {
            redirects,
            to: self.journey.to,
            label: Some(format!("process {pid} ({name})")),
            process: Some(Traveller { pid, name: name.clone() }),
            though_locked: self.journey.though_locked,
            led: true,
            made,
            memory: self.memory.clone(),
            timeout_seconds: self.journey.timeout.map_or(DEFAULT_TIMEOUT, |t| t.as_secs_f64()),
            dry_run: false,
        };
        let begun = client.send_to(Method::POST, "/v1/moves", &request).await;
        let unbegun = |error| Failed { error, begun: false, decided: false };
        let moved: MoveView = begun.map_err(unbegun)?;
        let memory = self.memory.map(|choice| choice.way).unwrap_or_default();
        let passage = Passage { pid, name, r#move: moved.id, memory };
        let state_dir: &Path = &self.journey.state_dir;
        let done = travel(client, &moved, (passage, state_dir), self.ends, watch).await;
        if let Err(Failed { error, decided: false, .. }) = &done {
            Journal { client, id: moved.id }.abort(error).await;
        }
        done
    }
}

/// Makes the move, which has begun.
async fn travel(
    client: &Client,
    moved: &MoveView,
    (passage, state_dir): (Passage, &Path),
    (source, destination): (End, End),
    watch: &Watch<'_>,
) -> Result<Report, Failed> {
    // Before anything is frozen, so that a refusal costs nothing.
    let (coming, to) = destination.take_in(client, (passage.clone(), state_dir)).await?;
    let (leaving, from) = source.leave(client, (passage, state_dir)).await?;
    let done = conduct(client, moved, (from, to), watch).await;
    for here in [coming, leaving].into_iter().flatten() {
        here.end().await;
    }
    done
}

/// What `error` is to a move.
fn obstacle(error: Error, inventory: &Inventory) -> Obstacle {
    Obstacle {
        reason: Reason::Engine,
        pid: inventory.root().pid,
        what: error.what,
        cure: error.cure.unwrap_or_else(|| "see the log of redirectd there".to_owned()),
        stops: true,
    }
}

fn in_the_way(source: &End, inventory: &Inventory, welcome: &Welcome, host: &str) -> Vec<Obstacle> {
    let refused = |error: Error| obstacle(error, inventory);
    let mut found = Vec::new();
    if matches!(source, End::Home) {
        found.extend(Criu::new("criu").check().err().map(refused));
    }
    let there = welcome
        .refusal
        .clone()
        .map(|error| Error { what: format!("{host} refuses: {}", error.what), ..error });
    found.extend(there.map(refused));
    found.extend(obstacles(inventory));
    found.extend(misfits(inventory, &welcome.offer, host));
    found.sort_by_key(|obstacle| !obstacle.stops);
    found
}
