//! Lines into a file, by a thread of their own: whoever has something to say never waits for a disk.
//!
//! The file is opened anew when it was moved away or removed, so that it can be rotated.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines that may wait to be written.
const LINES_MAX: usize = 8_192;
/// So many of these places are for lines about administration alone.
const RESERVED: usize = 1_024;
/// What was left out is said this often, and the file is looked for.
const LOOK: Duration = Duration::from_secs(60);
/// Only who runs the broker may read it, and its group.
const MODE: u32 = 0o640;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Administration,
    /// There may be very many.
    Lock,
}

/// The way to the file.
#[derive(Debug)]
pub(super) struct Writer {
    lines: Option<SyncSender<String>>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Opens the file, to add to it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let (lines, come) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let waiting = Arc::new(AtomicUsize::new(0));
        let work = Work {
            path: path.to_owned(),
            file: Some(file),
            lost: lost.clone(),
            waiting: waiting.clone(),
            looked: Instant::now(),
            said: 0,
        };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || work.run(&come))?;
        Ok(Self { lines: Some(lines), waiting, lost, thread: Mutex::new(Some(thread)) })
    }

    /// Lines that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Adds a line, or counts it as lost where too many wait.
    pub(super) fn write(&self, line: String, weight: Weight) {
        // Counted before it is taken, so that it is never taken uncounted.
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let has_place = weight == Weight::Administration || before < LINES_MAX - RESERVED;
        let taken = has_place && self.lines.as_ref().is_some_and(|lines| lines.try_send(line).is_ok());
        if !taken {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What waits is written.
impl Drop for Writer {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

/// The thread.
struct Work {
    path: PathBuf,
    file: Option<File>,
    lost: Arc<AtomicU64>,
    waiting: Arc<AtomicUsize>,
    looked: Instant,
    /// How many of those that were lost were said.
    said: u64,
}

impl Work {
    fn run(mut self, come: &Receiver<String>) {
        loop {
            let next = come.recv_timeout(LOOK);
            if self.looked.elapsed() >= LOOK {
                self.look();
            }
            match next {
                Ok(line) => {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    self.write(&(line + "\n"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, line: &str) {
        let written = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()).is_ok(),
            None => false,
        };
        if !written {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says what was lost, and opens the file anew if it is another one now.
    fn look(&mut self) {
        self.looked = Instant::now();
        let all = self.lost.load(Ordering::Relaxed);
        let lost = all - std::mem::replace(&mut self.said, all);
        if lost > 0 {
            let file = self.path.display();
            tracing::error!(lost, "lines of the audit were lost: {file} cannot be written, or not fast enough");
        }
        let number = |about: std::fs::Metadata| (about.dev(), about.ino());
        let mine = self.file.as_ref().and_then(|file| file.metadata().ok()).map(number);
        if mine.is_none() || mine != std::fs::metadata(&self.path).ok().map(number) {
            self.file = open(&self.path).ok().or(self.file.take());
        }
    }
}
