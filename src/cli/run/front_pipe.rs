//! The keeper's end of the pipes to the front.

use std::collections::VecDeque;
use std::io::Result;
use std::os::fd::RawFd;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe;

use super::messages::{FromKeeper, Order, ToKeeper};

/// The front, as the keeper has it.
pub(super) struct Front {
    input: Lines<BufReader<pipe::Receiver>>,
    output: pipe::Sender,
    /// What the pipe had no room for: a front that stands still reads nothing, and must not hold up the keeper.
    unsaid: VecDeque<Vec<u8>>,
}

impl Front {
    /// Takes over the two ends that this process was started with, so that the command does not get them.
    pub(super) fn take(input: RawFd, output: RawFd) -> Result<Self> {
        let options = pipe::OpenOptions::new();
        let front = Self {
            input: BufReader::new(options.open_receiver(format!("/proc/self/fd/{input}"))?).lines(),
            output: options.open_sender(format!("/proc/self/fd/{output}"))?,
            unsaid: VecDeque::new(),
        };
        nix::unistd::close(input)?;
        nix::unistd::close(output)?;
        Ok(front)
    }

    /// What is to be locked and run.
    pub(super) async fn order(&mut self) -> Result<Order> {
        let line = self.input.next_line().await?.unwrap_or_default();
        Ok(serde_json::from_str(&line)?)
    }

    /// The next word; absent when the front is gone. Meanwhile says what was unsaid.
    pub(super) async fn hear(&mut self) -> Option<ToKeeper> {
        loop {
            tokio::select! {
                line = self.input.next_line() => return serde_json::from_str(&line.ok().flatten()?).ok(),
                _ = self.output.writable(), if !self.unsaid.is_empty() => self.say(),
            }
        }
    }

    /// Resolves when the front is gone. Before there is a lock it has nothing else to say.
    pub(super) async fn until_gone(&mut self) {
        while let Some(word) = self.hear().await {
            if matches!(word, ToKeeper::Resumed) {
                self.tell(&FromKeeper::Resumed { at: None });
            }
        }
    }

    /// Tells it something, later if need be. These words are few.
    pub(super) fn tell(&mut self, word: &FromKeeper) {
        if let Ok(mut line) = serde_json::to_vec(word) {
            line.push(b'\n');
            self.unsaid.push_back(line);
            self.say();
        }
    }

    /// Tells it the deadline, now or not at all: the next one will do.
    pub(super) fn tell_deadline(&mut self, at: Duration) {
        if self.unsaid.is_empty() {
            self.tell(&FromKeeper::Deadline { at });
        }
    }

    /// A line is short enough to be written whole or not at all.
    fn say(&mut self) {
        while let Some(line) = self.unsaid.front() {
            match self.output.try_write(line) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                _ => self.unsaid.pop_front(),
            };
        }
    }
}
