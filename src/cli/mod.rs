//! The command line: one file per subcommand, each with an `Args` and a `run` that does it.
//!
//! Data goes to standard output, everything else to standard error. A command that fails says so in one sentence, and
//! in a hint what to do next.
//!
//! # Layout, in reading order
//!
//! * [`serve`]: runs a broker, `stop` says when it ends and `reload` when it reads its configuration again; [`check`]: only checks its configuration;
//! * `run`: runs a command under a lock (on Linux);
//! * [`ls`], [`show`], [`watch`], [`sessions`], [`waits`], [`top`], [`brokers`], [`status`]: look;
//! * [`notify`], [`unlock`], [`expire`], [`drain`], [`purge`]: administer;
//! * [`token`], [`access`]: who may do what, without asking a broker;
//! * `bench`: measures how fast locks are;
//! * [`completions`], [`man`]: the command line described for shells and readers;
//! * [`connect`], [`credentials`], [`failure`], [`output`], [`screen`], [`view`], [`vouchers`], [`chains`]: what they share.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub mod serve;
pub mod check;
mod reload;
mod stop;

#[cfg(target_os = "linux")]
pub mod run;

pub mod ls;
pub mod show;
pub mod watch;
pub mod sessions;
pub mod waits;
pub mod top;
pub mod brokers;
pub mod status;

pub mod notify;
pub mod unlock;
pub mod expire;
pub mod drain;
pub mod purge;

pub mod token;
pub mod access;

pub mod bench;

pub mod completions;
pub mod man;

pub mod connect;
pub mod credentials;
pub mod failure;
pub mod output;
pub mod screen;
pub mod view;
pub mod vouchers;
pub mod chains;

use failure::Failure;

/// A lock broker: six lock modes over gRPC on Redis, etcd, NATS or memory.
#[derive(Debug, Parser)]
#[command(name = "sixpin", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker.
    Serve(serve::Args),
    /// Run a command under a lock.
    #[cfg(target_os = "linux")]
    Run(Box<run::Args>),
    /// Keeps the lock for `run`.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    RunKeeper(run::keeper::Args),
    /// Becomes the command of `run`.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    RunStarter(run::starter::Args),
    /// List the resources on which somebody has a claim.
    Ls(ls::Args),
    /// Show who holds a resource and who waits for it.
    Show(show::Args),
    /// Follow a resource: one line for each change.
    Watch(watch::Args),
    /// List the sessions of all brokers.
    Sessions(sessions::Args),
    /// List the longest waits, each with the holder at the root of its chain.
    Waits(waits::Args),
    /// Follow the longest waits and what most wait for.
    Top(top::Args),
    /// List the brokers on the store.
    Brokers(brokers::Args),
    /// Show how a broker is.
    Status(status::Args),
    /// Ask whoever holds a lock to let go of it.
    Notify(notify::Args),
    /// Take a lock away from its holder.
    Unlock(unlock::Args),
    /// End a session, with everything it holds.
    Expire(expire::Args),
    /// Tell a broker to hand its sessions over and leave.
    Drain(drain::Args),
    /// Remove orphans, which are claims that outlived their sessions, or a damaged record.
    Purge(purge::Args),
    /// Make tokens by which programs say who they are.
    Token(token::Args),
    /// Say what a configuration allows to whom.
    Access(access::Args),
    /// Measure how fast locks are.
    Bench(Box<bench::Args>),
    /// Answers `bench` without locking anything.
    #[command(hide = true)]
    BenchFloor(bench::floor::Args),
    /// Print what a shell needs to complete these commands.
    Completions(completions::Args),
    /// Print the manual, or write all its pages.
    Man(man::Args),
}

impl Cli {
    /// What the arguments of this process say. Ends the process where they make no sense, or ask for help.
    pub fn of_process() -> Self {
        #[cfg(target_os = "linux")]
        run::prepare();
        let matches = without_empty_variables(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Does what was asked.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve::run(&args),
            #[cfg(target_os = "linux")]
            Command::Run(args) => run::run(*args),
            #[cfg(target_os = "linux")]
            Command::RunKeeper(args) => run::keeper::run(&args),
            #[cfg(target_os = "linux")]
            Command::RunStarter(args) => run::starter::run(&args),
            Command::Ls(args) => client(ls::run(args)),
            Command::Show(args) => client(show::run(args)),
            Command::Watch(args) => client(watch::run(args)),
            Command::Sessions(args) => client(sessions::run(args)),
            Command::Waits(args) => client(waits::run(args)),
            Command::Top(args) => client(top::run(args)),
            Command::Brokers(args) => client(brokers::run(args)),
            Command::Status(args) => client(status::run(args)),
            Command::Notify(args) => client(notify::run(args)),
            Command::Unlock(args) => client(unlock::run(args)),
            Command::Expire(args) => client(expire::run(args)),
            Command::Drain(args) => client(drain::run(args)),
            Command::Purge(args) => client(purge::run(args)),
            Command::Token(args) => done(token::run(&args)),
            Command::Access(args) => done(access::run(&args)),
            Command::Bench(args) => bench::run(&args),
            Command::BenchFloor(args) => bench::floor::run(&args),
            Command::Completions(args) => done(completions::run(&args)),
            Command::Man(args) => done(man::run(&args)),
        }
    }
}

/// A variable that is set to nothing is as good as none: that is how compose files and units leave one out.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty =
        |arg: &clap::Arg| arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|it| it.is_empty()));
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(None::<&'static str>) } else { arg })
        .mut_subcommands(without_empty_variables)
}

/// Carries out a command that asks brokers.
fn client(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(Failure::new(exit::FAILURE, format_args!("the runtime can not be started: {error}"))),
    };
    self::done(done)
}

fn done(result: Result<(), Failure>) -> ExitCode {
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

/// Exit statuses that mean something, after `sysexits.h`.
pub mod exit {
    /// It could not be done, for a reason that was told.
    pub const FAILURE: u8 = 1;
    /// The answer of `show --exit-code`: somebody has the resource.
    pub const TAKEN: u8 = 1;
    /// As [`FAILURE`], where 1 is an answer.
    pub const UNSURE: u8 = 3;
    /// The arguments make no sense. The same as for arguments that can not be parsed.
    pub const USAGE: u8 = 2;
    /// No broker, or no store, could be reached.
    pub const UNREACHABLE: u8 = 69;
    /// The program was wrong about something and ended itself.
    pub const BUG: u8 = 70;
    /// A lock was lost.
    pub const LOST: u8 = 74;
    /// A lock was not granted in time.
    pub const NOT_GRANTED: u8 = 75;
    /// The store is not safe enough.
    pub const UNSAFE: u8 = 76;
    /// A login was refused, at a store or at a broker.
    pub const LOGIN: u8 = 77;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
}
