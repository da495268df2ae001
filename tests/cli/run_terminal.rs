//! `sixpin run` on a terminal: the command has it, and job control works.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::pty::openpty;

use super::program::{Broker, PATIENCE, Process, soon};

/// An interactive shell on a terminal of its own.
struct Shell {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    _process: Process,
}

impl Shell {
    fn start(broker: &Broker) -> Self {
        let terminal = openpty(None, None).unwrap();
        let side = || Stdio::from(terminal.slave.try_clone().unwrap());
        // Makes the terminal the controlling one of a new session.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "bash", "--norc", "--noprofile", "-i"]);
        command.env("PS1", "$ ").env("TERM", "dumb").env("SIXPIN", env!("CARGO_BIN_EXE_sixpin"));
        command.env("SIXPIN_ENDPOINTS", &broker.address);
        let process = Process(command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap());
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut output, shown) = (File::from(terminal.master.try_clone().unwrap()), screen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { keyboard: terminal.master.into(), screen, _process: process }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for what must appear, and forgets the screen up to it.
    fn shows(&mut self, text: &str) {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            soon(text, || {
                let mut screen = self.screen.lock().unwrap();
                let end = screen.find(text)? + text.len();
                screen.drain(..end);
                Some(())
            });
        }));
        if found.is_err() {
            let screen = self.screen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            panic!("`{text}` was not shown within {PATIENCE:?}, but `{screen}`");
        }
    }
}

#[test]
fn a_command_has_the_terminal() {
    let broker = Broker::start();
    let mut shell = Shell::start(&broker);
    shell.types("$SIXPIN run r -- sh -c 'read line; echo got:$line'; echo status:$?\n");
    soon("the lock", || (broker.json(&["ls"])["resources"][0]["granted"] == 1).then_some(()));
    shell.types("hello\n");
    shell.shows("got:hello");
    shell.shows("status:0");
    // And the shell has it back.
    shell.types("echo back:$((6 * 7))\n");
    shell.shows("back:42");
}

#[test]
fn a_shell_in_a_shell_works() {
    let broker = Broker::start();
    let mut shell = Shell::start(&broker);
    shell.types("$SIXPIN run r -- bash --norc --noprofile -i\n");
    soon("the lock", || (broker.json(&["ls"])["resources"][0]["granted"] == 1).then_some(()));
    shell.types("PS1='inner> '\n");
    shell.shows("inner> ");
    shell.types("echo $((6 * 7))-$SIXPIN_RESOURCE\n");
    shell.shows("42-r");
    shell.types("exit 5\n");
    shell.shows("$ ");
    shell.types("echo status:$?\n");
    shell.shows("status:5");
}

#[test]
fn ctrl_c_ends_the_command() {
    let broker = Broker::start();
    let mut shell = Shell::start(&broker);
    shell.types("$SIXPIN run r -- sleep 1000\n");
    soon("the lock", || (broker.json(&["ls"])["resources"][0]["granted"] == 1).then_some(()));
    shell.types("\x03");
    shell.shows("$ ");
    shell.types("echo status:$?\n");
    shell.shows("status:130");
}

#[test]
fn ctrl_c_ends_the_loop_around_it() {
    let broker = Broker::start();
    let mut shell = Shell::start(&broker);
    // A script that is no interactive shell: it ends only if it gets the signal itself.
    let script =
        "for i in 1 2 3; do $SIXPIN run r -- sh -c \"echo round:\\$((\\$1 + 6)); exec sleep 1000\" sh $i; done";
    for shell_of_script in ["bash", "sh"] {
        shell.types(&format!("{shell_of_script} -c '{script}'\n"));
        shell.shows("round:7");
        shell.types("\x03");
        shell.types("echo loop:$((6 * 7)):$?\n");
        shell.shows("loop:42:130");
        assert!(!shell.screen.lock().unwrap().contains("round:8"));
    }
    // And while it waits.
    let holder = broker.hold(&["r"]);
    shell.types("stty cols 200; for i in 1 2 3; do $SIXPIN run r -- true; done\n");
    shell.shows("waiting for EX on `r`");
    shell.types("\x03");
    shell.types("echo loop:$((6 * 7)):$?\n");
    shell.shows("loop:42:130");
    assert!(holder.release().success());
}

#[test]
fn ctrl_z_stops_the_job_and_keeps_the_lock() {
    let broker = Broker::start();
    let mut shell = Shell::start(&broker);
    shell.types("$SIXPIN run r --ttl 1s -- cat\n");
    soon("the lock", || (broker.json(&["ls"])["resources"][0]["granted"] == 1).then_some(()));
    // `cat` has the terminal when it answers.
    shell.types("one\n");
    shell.shows("one\r\none");
    shell.types("\x1a");
    shell.shows("Stopped");
    shell.shows("-- cat\r\n");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(broker.ask(&["run", "r", "--no-wait", "--", "true"]).status, Some(75));
    shell.types("fg\n");
    shell.shows("-- cat\r\n");
    // What is typed before the terminal has changed hands is for the shell.
    std::thread::sleep(Duration::from_secs(1));
    shell.types("two\n");
    shell.shows("two\r\ntwo");
    shell.types("\x04");
    shell.types("echo status:$?\n");
    shell.shows("status:0");
}

#[test]
fn a_command_in_a_pipe_gets_the_terminal_when_it_asks() {
    let broker = Broker::start();
    let mut shell = Shell::start(&broker);
    shell.types("$SIXPIN run r -- sh -c 'read line < /dev/tty; echo got:$line' | cat; echo status:${PIPESTATUS[0]}\n");
    soon("the lock", || (broker.json(&["ls"])["resources"][0]["granted"] == 1).then_some(()));
    shell.types("hello\n");
    shell.shows("got:hello");
    shell.shows("status:0");
}

#[test]
fn a_wait_is_shown_in_one_line_that_goes_away() {
    let broker = Broker::start();
    let holder = broker.hold(&["r", "--label", "first@host:1"]);
    let mut shell = Shell::start(&broker);
    shell.types("stty cols 200; $SIXPIN run r -- echo ran\n");
    shell.shows("\r\x1b[2Ksixpin: waiting for EX on `r`, held by first@host:1 (EX for ");
    shell.shows("\r\x1b[2Ksixpin: waiting for EX on `r`");
    assert!(holder.release().success());
    shell.shows("\r\x1b[2K");
    shell.shows("ran");
}
