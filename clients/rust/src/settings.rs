//! What a client is told once, and all its sessions and calls go by.

use std::time::Duration;

use crate::connect::Connector;
use crate::error::Error;

/// What all sessions of a client share.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<String>,
    pub(crate) connector: Connector,
    pub(crate) open_timeout: Duration,
    pub(crate) queued_max: usize,
    /// The program and this library, as brokers are told.
    pub(crate) program: String,
}

/// What brokers are told of this library.
pub(crate) const LIBRARY: &str = concat!("sixpin-rust/", env!("CARGO_PKG_VERSION"));
/// Bytes that brokers keep of a program's name.
const PROGRAM_BYTES_MAX: usize = 64;

impl Settings {
    /// Checks the program's name.
    pub(crate) fn check_program(&self) -> Result<(), Error> {
        if self.program.len() <= PROGRAM_BYTES_MAX && !self.program.chars().any(char::is_control) {
            return Ok(());
        }
        let (name, room) = (self.program.escape_debug(), PROGRAM_BYTES_MAX - LIBRARY.len() - 1);
        Err(Error::Setting(format!(
            "the program's name `{name}` is longer than {room} bytes or has control characters: give a short one"
        )))
    }
}
