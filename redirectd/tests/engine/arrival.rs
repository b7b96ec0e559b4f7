//! A process that arrives on a machine, up to the point where it is revived and
//! still silent; there it waits for the word of the machine it comes from.

use std::{
    path::PathBuf,
    sync::mpsc::{self, Sender},
    thread::{self, JoinHandle},
};

use redirectd::{
    error::{Error, Kind},
    migrate::criu::{Criu, Restore, RestoreStage},
};

/// What is done at each stage.
pub(crate) type Stages<'a> = dyn FnMut(RestoreStage) -> Result<(), Error> + 'a;

/// One arrival. Dropping it without the word ends the revived process.
pub(crate) struct Arrival {
    word: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<i32, Error>>>,
}

impl Arrival {
    /// Revives what is in `images`, and returns when it waits for the word. After
    /// that, and before the process runs, `mend` is called.
    pub(crate) fn begin(
        criu: Criu,
        images: PathBuf,
        mend: impl FnMut() -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let restore = Restore { images, shell_job: false };
        Self::by(move |stages| criu.restore(&restore, stages), mend)
    }

    /// The same by `restore`, which is given what to do at each stage.
    pub(crate) fn by(
        restore: impl FnOnce(&mut Stages<'_>) -> Result<i32, Error> + Send + 'static,
        mut mend: impl FnMut() -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let (word, the_word) = mpsc::channel::<()>();
        let (revived, is_revived) = mpsc::channel();
        let thread = thread::spawn(move || {
            restore(&mut |stage| match stage {
                RestoreStage::Revived { .. } => {
                    let _ = revived.send(());
                    the_word.recv().map_err(|_| Error::new(Kind::Failed, "the word never came"))
                }
                RestoreStage::Resuming { .. } => mend(),
                RestoreStage::Begun | RestoreStage::Resumed { .. } => Ok(()),
            })
        });
        let mut arrival = Self { word: Some(word), thread: Some(thread) };
        match is_revived.recv() {
            Ok(()) => Ok(arrival),
            // The thread has ended before it came so far.
            Err(_) => Err(arrival
                .ended()
                .err()
                .unwrap_or_else(|| Error::new(Kind::Failed, "it was revived without having been"))),
        }
    }

    /// Gives the word: the process is this machine's. Gives its number.
    pub(crate) fn complete(mut self) -> Result<i32, Error> {
        let _ = self.word.take().expect("it is given once").send(());
        self.ended()
    }

    fn ended(&mut self) -> Result<i32, Error> {
        self.thread.take().expect("it ends once").join().expect("the engine does not panic")
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.word = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
