//! The front's end of the pipes to the keeper.
//!
//! The keeper starts the command, so it has the user's standard input, output and error, and the pipes come beside them.

use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use serde::Serialize;

use super::messages::{FromKeeper, Order};

/// This program, also when its file was replaced or deleted since it started.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// The keeper, as the front has it.
#[derive(Debug)]
pub(super) struct Keeper {
    process: Child,
    /// Absent once it was closed.
    input: Option<PipeWriter>,
    output: PipeReader,
    /// What was read of a line that is not complete.
    partial: Vec<u8>,
}

/// What was heard from the keeper.
#[derive(Debug)]
pub(super) enum Heard {
    /// These lines.
    Lines(Vec<FromKeeper>),
    /// It is gone.
    End,
}

impl Keeper {
    /// Starts a keeper. It is in a group of its own, so that Ctrl-C does not reach it.
    pub(super) fn start(order: &Order) -> std::io::Result<Self> {
        let (its_input, input) = pipe()?;
        let (output, its_output) = pipe()?;
        for end in [its_input.as_fd(), its_output.as_fd()] {
            fcntl_setfd(end, FdFlags::empty())?;
        }
        let numbers = [&its_input.as_raw_fd(), &its_output.as_raw_fd()].map(ToString::to_string);
        let process = Command::new(THIS_PROGRAM)
            .arg0("sixpin")
            .arg(super::keeper::NAME)
            .args(numbers)
            .process_group(0)
            .spawn()?;
        ioctl_fionbio(&output, true)?;
        let mut keeper = Self { process, input: Some(input), output, partial: Vec::new() };
        keeper.tell(order);
        Ok(keeper)
    }

    /// Its process.
    pub(super) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// Tells it something. If it is gone, its end of the other pipe says so.
    pub(super) fn tell(&mut self, word: &impl Serialize) {
        let Some(input) = &mut self.input else { return };
        if let Ok(mut line) = serde_json::to_vec(word) {
            line.push(b'\n');
            let _ = input.write_all(&line);
        }
    }

    /// Tells it that the front has given up.
    pub(super) fn hang_up(&mut self) {
        self.input = None;
    }

    /// Reads all there is, without waiting for more.
    pub(super) fn hear(&mut self) -> Heard {
        let mut bytes = [0; 4096];
        loop {
            match self.output.read(&mut bytes) {
                Ok(0) if self.partial.is_empty() => return Heard::End,
                // The end is heard again after what came before it.
                Ok(0) => return Heard::Lines(self.lines()),
                Ok(length) => self.partial.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Lines(self.lines()),
                Err(_) => return Heard::End,
            }
        }
    }

    /// Takes the complete lines. What a keeper that died left of a line is dropped with the next call at the end.
    fn lines(&mut self) -> Vec<FromKeeper> {
        let complete = self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines: Vec<u8> = self.partial.drain(..complete).collect();
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Ends it, whatever it does.
    pub(super) fn kill(&mut self) {
        let _ = self.process.kill();
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}
