//! `sixpin completions`: what a shell needs to complete commands and options.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::failure::Failure;
use super::{Cli, output};

/// Told below the options.
const PLACES: &str = "\
Where it goes:
  bash        ~/.local/share/bash-completion/completions/sixpin
  zsh         a directory of $fpath, as _sixpin
  fish        ~/.config/fish/completions/sixpin.fish
  elvish      eval (sixpin completions elvish | slurp), in rc.elv
  powershell  sixpin completions powershell | Out-String | Invoke-Expression, in $PROFILE";

/// What `sixpin completions` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = PLACES)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sixpin", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}
