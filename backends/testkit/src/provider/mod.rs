//! Where a server comes from: a program of this machine, or a container.
//!
//! Tests know neither. `SIXPIN_TEST_SERVERS=containers` chooses containers, for a build with the feature `containers`;
//! without it, or with `processes`, servers are programs. Both get the same arguments, the same data directory and the
//! same ports of the host, so a test sees no difference.
//!
//! # Layout
//!
//! * `process`: programs of this machine; `spawner`: so started that they do not outlive the tests;
//! * `container`: containers, by testcontainers.

use std::fmt::Debug;
use std::io;
use std::path::Path;

use crate::server::StartError;

#[cfg(feature = "containers")]
mod container;
mod process;
mod spawner;

/// What to start.
pub(crate) struct Launch<'a> {
    /// The program; also the name of its image.
    pub(crate) program: &'static str,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Its data, which outlives it.
    pub(crate) directory: &'a Path,
    /// Where its output goes.
    pub(crate) log: &'a Path,
}

/// A server that was started. Dropping it does not end it: [`Running::kill`] does.
pub(crate) trait Running: Debug + Send {
    /// Ends it at once, with no chance to write anything, and waits until it is gone.
    fn kill(&mut self);
    /// Lets it stand still with its connections open.
    fn freeze(&mut self);
    /// Lets it go on.
    fn resume(&mut self);
    /// Its process, if it is one of ours.
    fn pid(&self) -> Option<u32>;
    /// A command of the shell that does what [`Running::kill`] does, for when this process is gone.
    fn kill_command(&self) -> String;
    /// How it ended, if it did.
    fn ended(&mut self) -> Option<String>;
}

/// Programs that there are images of. Everything else, such as a broker, is always a process.
const IMAGES: [&str; 3] = ["redis-server", "etcd", "nats-server"];

/// True if this program is started as a container.
fn contained(program: &str) -> bool {
    IMAGES.contains(&program) && containers()
}

/// True if servers are containers.
fn containers() -> bool {
    match std::env::var("SIXPIN_TEST_SERVERS").as_deref() {
        Err(_) | Ok("" | "processes") => false,
        Ok("containers") if cfg!(feature = "containers") => true,
        Ok("containers") => panic!("SIXPIN_TEST_SERVERS=containers needs `--features sixpin-testkit/containers`"),
        Ok(other) => panic!("SIXPIN_TEST_SERVERS={other}: say processes or containers"),
    }
}

/// Fails with instructions if the program is not to be had.
pub(crate) fn check(program: &'static str) -> Result<(), StartError> {
    if contained(program) { Ok(()) } else { process::find(program).map(|_| ()) }
}

/// Starts it.
pub(crate) fn launch(launch: &Launch<'_>) -> io::Result<Box<dyn Running>> {
    #[cfg(feature = "containers")]
    if contained(launch.program) {
        return Ok(Box::new(container::Container::start(launch)?));
    }
    Ok(Box::new(process::Process::start(launch)?))
}
