//! What `run` says on standard error, without ever waiting for whoever reads it.
//!
//! A terminal that stands still (Ctrl-S), a pipe that nobody empties or a full disk must hold up neither a keepalive nor
//! a deadline, so a thread writes, and what it has no room for is not said.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::cli::failure::{self, Failure};

/// Lines that wait to be written.
const LINES_MAX: usize = 32;
/// How long what was said may take before the command begins.
const SETTLED_WITHIN: Duration = Duration::from_millis(100);
/// How long what was said last may take to be written when the process ends.
const WRITTEN_WITHIN: Duration = Duration::from_millis(500);

/// Standard error. Dropped, it waits a little for what was said.
#[derive(Debug)]
pub(super) struct Voice {
    /// Says nothing but failures and what people have to know.
    quiet: bool,
    writer: OnceLock<Writer>,
}

#[derive(Debug)]
struct Writer {
    lines: SyncSender<Line>,
    /// Ends with the thread.
    written: Receiver<()>,
}

#[derive(Debug)]
enum Line {
    Text(String),
    /// Everything before it is written.
    Mark(SyncSender<()>),
}

impl Voice {
    /// One that says what is going on, unless it is to be quiet.
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, writer: OnceLock::new() }
    }

    /// Whether it keeps what is going on to itself.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Says what is going on.
    pub(super) fn note(&self, text: impl Display) {
        if !self.quiet {
            self.write(failure::noted(text));
        }
    }

    /// Says what may go wrong.
    pub(super) fn warn(&self, text: impl Display) {
        if !self.quiet {
            self.alarm(text);
        }
    }

    /// Says what somebody has to know, also when it is quiet.
    pub(super) fn alarm(&self, text: impl Display) {
        self.write(failure::warned(text));
    }

    /// Says why it ends, and gives the exit status.
    pub(super) fn fail(&self, failure: &Failure) -> u8 {
        self.write(failure.lines());
        failure.status()
    }

    /// Writes text as it is.
    pub(super) fn write(&self, text: String) {
        if !text.is_empty() {
            let _ = self.writer.get_or_init(Writer::start).lines.try_send(Line::Text(text));
        }
    }

    /// Waits a moment for what was said to be written, so that it comes before what others write.
    pub(super) fn settle(&self) {
        let Some(writer) = self.writer.get() else { return };
        let (mark, written) = sync_channel(1);
        if writer.lines.try_send(Line::Mark(mark)).is_ok() {
            let _ = written.recv_timeout(SETTLED_WITHIN);
        }
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        if let Some(Writer { lines, written }) = self.writer.take() {
            drop(lines);
            let _ = written.recv_timeout(WRITTEN_WITHIN);
        }
    }
}

impl Writer {
    fn start() -> Self {
        let (lines, to_write) = sync_channel(LINES_MAX);
        let (alive, written) = sync_channel(0);
        std::thread::spawn(move || {
            let _alive: SyncSender<()> = alive;
            for line in to_write {
                // Nobody can be told that standard error is gone, or that nobody waits any more.
                match line {
                    Line::Text(text) => drop(std::io::stderr().lock().write_all(text.as_bytes())),
                    Line::Mark(mark) => drop(mark.try_send(())),
                }
            }
        });
        Self { lines, written }
    }
}
