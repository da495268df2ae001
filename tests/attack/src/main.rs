//! Attacks a broker that it starts, and says what honest clients noticed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use sixpin_attack::attacks;
use sixpin_attack::secrets::Stolen;
use sixpin_attack::target::Target;
use sixpin_attack::trial::{Plan, Trial};

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
    Attack(One),
    /// A broker.
    #[command(hide = true)]
    Serve(sixpin::cli::serve::Args),
}

/// What `attack` takes.
#[derive(Debug, clap::Args)]
struct One {
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
    /// Certificates and a token, where the broker wants them.
    #[arg(long)]
    secrets: Option<PathBuf>,
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
    /// A broker with TLS and access control, all attacks through that, and those against TLS as well.
    #[arg(long)]
    tls: bool,
}

/// The lowest priority there is.
const LOWEST: i32 = 19;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => block_on(run(args)),
        Command::List => {
            for attack in attacks::all(true) {
                let only = if attack.tls { " (with --tls)" } else { "" };
                say(&format!("{:<20} {}{only}", attack.name, attack.what));
            }
            ExitCode::SUCCESS
        }
        Command::Attack(one) => {
            if one.yielding {
                stand_back();
            }
            block_on(attack(one))
        }
        Command::Serve(args) => sixpin::cli::serve::run(&args),
    }
}

async fn attack(one: One) -> io::Result<bool> {
    let Some(attack) = attacks::named(&one.name) else {
        return Err(io::Error::other(format!("there is no attack `{}`", one.name)));
    };
    // For as long as the process lives, so that whoever attacks can have it.
    let stolen = |folder: &Path| Stolen::read(folder).map(|stolen| &*Box::leak(Box::new(stolen)));
    let stolen = one.secrets.as_deref().map(stolen).transpose()?;
    attack.run(Target { broker: one.broker, from: one.from, stolen }, one.time).await;
    Ok(true)
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
    // Sessions that are hoarded live long.
    let settings = format!("session_ttl_max = \"1h\"\n{}\n{strangers}", args.settings);
    let chosen = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let attacks: Vec<_> = attacks::all(args.tls).filter(|attack| chosen(attack.name)).collect();
    if attacks.is_empty() {
        return Err(io::Error::other("there are no such attacks; some there are only with --tls"));
    }
    let plan = Plan {
        time: args.time,
        sessions: args.sessions,
        ttl: args.ttl,
        settings,
        tls: args.tls,
        yielding: args.yielding,
    };
    let log = tempfile::NamedTempFile::new()?;
    let mut trial = Trial::start(plan, log.path()).await?;
    say("attack               memory before, most, left; processor; honest locks before and meanwhile");
    let mut held = true;
    for attack in attacks {
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
