//! What describes the command line: help, manual pages, completions.

use super::program::{Said, program};

fn said(arguments: &[&str]) -> Said {
    Said::from(program().args(arguments).output().unwrap())
}

/// The commands that people are told of.
fn commands() -> Vec<String> {
    use clap::CommandFactory as _;
    let program = sixpin::cli::Cli::command();
    let visible = program.get_subcommands().filter(|command| !command.is_hide_set());
    visible.map(|command| command.get_name().to_owned()).collect()
}

#[test]
fn every_command_has_help_under_both_names() {
    for command in commands() {
        let (help, flag) = (said(&["help", &command]), said(&[&command, "--help"]));
        assert_eq!((help.status, flag.status), (Some(0), Some(0)), "{command}");
        assert!(help.stdout.contains(&format!("Usage: sixpin {command}")), "{help:?}");
        assert_eq!(help.stdout, flag.stdout, "{command}");
    }
    assert_eq!(said(&["help", "nothing"]).status, Some(2));
}

#[test]
fn every_shell_can_complete_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(&["completions", shell]);
        assert_eq!((script.status, script.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in commands().iter().map(String::as_str).chain(["admin-endpoint", "no-wait"]) {
            assert!(script.stdout.contains(word), "{shell} does not know `{word}`");
        }
    }
    let unknown = said(&["completions", "tcsh"]);
    assert!(unknown.status == Some(2) && unknown.stderr.contains("zsh"), "{unknown:?}");
}

#[test]
fn bash_takes_the_completions() {
    let script = said(&["completions", "bash"]).stdout;
    let asked = format!(
        "{script}\nCOMP_WORDS=(sixpin sh); COMP_CWORD=1; _sixpin sixpin sh sixpin; printf '%s ' \"${{COMPREPLY[@]}}\""
    );
    let answer = std::process::Command::new("bash").args(["--norc", "-c", &asked]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "show ", "{answer:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert_eq!(said(&["man", "--dir", pages.to_str().unwrap()]).status, Some(0));
    let written = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    for command in commands() {
        let page = written(&format!("sixpin-{command}.1"));
        assert!(page.contains(".TH sixpin-") && page.contains("OPTIONS"), "{command}: {page}");
        assert_eq!(page, said(&["man", &command]).stdout);
    }
    assert_eq!(written("sixpin.1"), said(&["man"]).stdout);
    assert!(written("sixpin.1").contains("unlock"), "the program's page lists the commands");
    assert_eq!(std::fs::read_dir(&pages).unwrap().count(), commands().len() + 1, "no page of a hidden command");
    assert_eq!(said(&["man", "nothing"]).status, Some(2));
    assert_eq!(said(&["man", "--dir", "/proc/nowhere"]).status, Some(1));
}
