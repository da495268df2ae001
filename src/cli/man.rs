//! `sixpin man`: the manual, one page for the program and one for each command.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use super::failure::Failure;
use super::{Cli, exit, output};

/// What `sixpin man` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Read a page with `sixpin man run | man -l -`. Install all with `sixpin man --dir /usr/local/share/man/man1`."
)]
pub struct Args {
    /// The command whose page is printed; absent: the program's own.
    #[arg(value_name = "COMMAND")]
    page: Option<String>,
    /// Write all pages into this directory instead.
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    dir: Option<PathBuf>,
}

/// A page: the name of its file and its text.
struct Page {
    file: String,
    text: String,
}

/// Prints a page, or writes all.
pub fn run(args: &Args) -> Result<(), Failure> {
    let program = built();
    match (&args.dir, &args.page) {
        (Some(dir), _) => write_all(&program, dir),
        (None, None) => output::text(&page(&program)?.text),
        (None, Some(name)) => match visible(&program).find(|command| command.get_name() == name) {
            Some(command) => output::text(&page(command)?.text),
            None => {
                Err(Failure::usage(format_args!("there is no command `{name}`")).hint("see all with `sixpin help`"))
            }
        },
    }
}

fn built() -> clap::Command {
    // A manual is the same wherever it is made: it does not show what is set there.
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

fn visible(program: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    program.get_subcommands().filter(|command| !command.is_hide_set())
}

fn write_all(program: &clap::Command, dir: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error, what: &Path| {
        Failure::new(exit::FAILURE, format_args!("cannot write `{}`: {error}", what.display()))
    };
    std::fs::create_dir_all(dir).map_err(|error| failed(error, dir))?;
    for command in std::iter::once(program).chain(visible(program)) {
        let page = page(command)?;
        let path = dir.join(page.file);
        std::fs::write(&path, page.text).map_err(|error| failed(error, &path))?;
    }
    Ok(())
}

fn page(command: &clap::Command) -> Result<Page, Failure> {
    let man = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    man.render(&mut text).map_err(|error| Failure::new(exit::FAILURE, format_args!("no manual page: {error}")))?;
    Ok(Page { file: man.get_filename(), text: String::from_utf8_lossy(&text).into_owned() })
}
