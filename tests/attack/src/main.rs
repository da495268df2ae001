//! Attacks a broker that it starts, and says what honest clients noticed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use sixpin_attack::attacks::{self, ATTACKS};
use sixpin_attack::trial::{Plan, Trial};
use sixpin_attack::wire::Target;

// What the program itself has: memory is measured here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Attacks on a broker.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Attack a broker with honest sessions beside it, and report.
    Run(Run),
    /// What attacks there are.
    List,
    /// One attack.
    #[command(hide = true)]
    Attack {
        /// Its name.
        name: String,
        /// The broker.
        #[arg(long)]
        broker: SocketAddr,
        /// The attacker's own address.
        #[arg(long)]
        from: IpAddr,
        /// How long the attack goes on.
        #[arg(long, value_parser = humantime::parse_duration)]
        time: Duration,
        /// Leaves the processors to everybody else.
        #[arg(long)]
        yielding: bool,
    },
    /// A broker.
    #[command(hide = true)]
    Serve(sixpin::cli::serve::Args),
}

/// What `run` takes.
#[derive(Debug, clap::Args)]
struct Run {
    /// How long each attack lasts.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "3s")]
    time: Duration,
    /// Honest sessions.
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// Their TTL.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s")]
    ttl: Duration,
    /// Only these attacks.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// More settings of the broker, as TOML.
    #[arg(long, default_value = "")]
    settings: String,
    /// Attackers have the share of a trusted address, as what runs on the broker's own host.
    #[arg(long)]
    trusted: bool,
    /// Attackers take only what broker and honest clients leave of the processors, as if they had machines of their own.
    #[arg(long)]
    yielding: bool,
}

/// The lowest priority there is.
const LOWEST: i32 = 19;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => block_on(run(args)),
        Command::List => {
            for attack in ATTACKS {
                say(&format!("{:<16} {}", attack.name, attack.what));
            }
            ExitCode::SUCCESS
        }
        Command::Attack { name, broker, from, time, yielding } => match attacks::named(&name) {
            Some(attack) => {
                if yielding {
                    stand_back();
                }
                block_on(async {
                    attack.run(Target { broker, from }, time).await;
                    Ok(true)
                })
            }
            None => complain(&format!("there is no attack `{name}`")),
        },
        Command::Serve(args) => sixpin::cli::serve::run(&args),
    }
}

/// Gives way to everybody else on this machine. Threads that are started later inherit it.
fn stand_back() {
    let _ = rustix::process::setpriority_process(None, LOWEST);
}

fn block_on(work: impl Future<Output = io::Result<bool>>) -> ExitCode {
    let done = tokio::runtime::Runtime::new().and_then(|runtime| {
        let done = runtime.block_on(work);
        // What still runs may not hold up the end.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => complain(&error.to_string()),
    }
}

/// True if everything held.
async fn run(args: Run) -> io::Result<bool> {
    let strangers = if args.trusted { "" } else { "[connections]\ntrusted = [\"127.0.0.1\"]\n" };
    let settings = format!("{}\n{strangers}", args.settings);
    let plan = Plan { time: args.time, sessions: args.sessions, ttl: args.ttl, settings, yielding: args.yielding };
    let log = tempfile::NamedTempFile::new()?;
    let mut trial = Trial::start(plan, log.path()).await?;
    say("attack           memory before, most, left; processor; honest locks before and meanwhile");
    let mut held = true;
    for attack in
        ATTACKS.iter().filter(|attack| args.only.is_empty() || args.only.iter().any(|name| name == attack.name))
    {
        let seen = trial.attack(attack).await?;
        held &= seen.violations.is_empty();
        say(&seen.to_string());
    }
    let violations = trial.end().await;
    held &= violations.is_empty();
    for text in &violations {
        say(&format!("VIOLATION {text}"));
    }
    if !held {
        let text = std::fs::read_to_string(log.path())?;
        let lines: Vec<&str> = text.lines().collect();
        say("the last lines of the broker's log:");
        lines.iter().rev().take(30).rev().for_each(|line| say(line));
    }
    Ok(held)
}

fn complain(text: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::FAILURE
}

fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(io::stdout(), "{text}");
}
