//! The front's end of the pipes to the keeper.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;

use super::words::{FromKeeper, Order};
use crate::cli::exit;

/// This program, also when its file was replaced or deleted since it started.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// The keeper, as the front has it.
#[derive(Debug)]
pub(super) struct Keeper {
    process: Child,
    /// Absent once it was closed.
    input: Option<ChildStdin>,
    output: ChildStdout,
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
        let mut process = Command::new(THIS_PROGRAM)
            .arg0("sixpin")
            .arg(super::keeper::NAME)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        rustix::io::ioctl_fionbio(&output, true)?;
        let mut keeper = Self { process, input: Some(input), output, partial: Vec::new() };
        keeper.tell(order);
        Ok(keeper)
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

    /// Waits for its end, which must be near. Its status says why nothing was granted.
    pub(super) fn status(&mut self) -> u8 {
        self.hang_up();
        match self.process.wait().map(|status| (status.code(), status.signal())) {
            Ok((Some(code), _)) => u8::try_from(code).unwrap_or(exit::FAILURE),
            Ok((None, Some(signal))) => u8::try_from(128 + signal).unwrap_or(exit::FAILURE),
            _ => exit::FAILURE,
        }
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
