//! A terminal that a command has for itself, until a person leaves it.
//!
//! Invariant: however the command ends, short of being killed, the terminal is as it was before.

use std::io::{IsTerminal as _, Read as _};

use rustix::stdio::{stdin, stdout};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::exit;
use super::failure::Failure;
use super::output;

/// The other screen, without a cursor, and without lines that go on in the next one.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// All of that undone.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// What Ctrl-C and Ctrl-D send to a program that reads keys.
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
/// Lines of a terminal that does not say how many it has.
const LINES: usize = 24;

/// See the module.
#[derive(Debug)]
pub struct Screen {
    before: Termios,
    keys: mpsc::UnboundedReceiver<u8>,
    ends: Vec<Signal>,
}

impl Screen {
    /// Whether there is a person at a terminal that can be written all over.
    pub fn is_there() -> bool {
        let plain = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        !plain && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Takes the terminal.
    pub fn open() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(exit::FAILURE, format_args!("the terminal can not be used: {error}"))
                .hint("say it once, with `--once`")
        };
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let ends = kinds.into_iter().map(signal).collect::<Result<_, _>>().map_err(failed)?;
        let before = tcgetattr(stdin()).map_err(|error| failed(error.into()))?;
        let mut keys = before.clone();
        // Keys come at once and are not shown, and Ctrl-Z does not leave a terminal like that to the shell.
        keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(stdin(), OptionalActions::Now, &keys).map_err(|error| failed(error.into()))?;
        let screen = Self { before, keys: keys_pressed(), ends };
        output::text(ENTER)?;
        Ok(screen)
    }

    /// Shows this and nothing else, as far as there is room.
    pub fn show(&self, text: &str) -> Result<(), Failure> {
        let size = tcgetwinsize(stdout()).ok().map(|size| usize::from(size.ws_row));
        let lines = size.filter(|lines| *lines > 0).unwrap_or(LINES);
        let shown: Vec<String> = text.lines().take(lines).map(|line| format!("{line}\x1b[K")).collect();
        output::text(&format!("\x1b[H{}\x1b[J", shown.join("\r\n")))
    }

    /// Returns when the person, or a signal, ends it.
    pub async fn left(&mut self) {
        let ended = self.ends.iter_mut().map(|signal| Box::pin(signal.recv()));
        let keys = &mut self.keys;
        let leaves = async {
            // Without a terminal any more there are no keys.
            while !matches!(keys.recv().await, None | Some(b'q' | b'Q' | CTRL_C | CTRL_D)) {}
        };
        tokio::select! {
            () = leaves => {}
            _ = futures::future::select_all(ended) => {}
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = output::text(LEAVE);
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// The keys, read by a thread that ends with the process: nobody else reads them.
fn keys_pressed() -> mpsc::UnboundedReceiver<u8> {
    let (pressed, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let bytes = std::io::stdin().lock().bytes();
        let _ = bytes.map_while(Result::ok).try_for_each(|key| pressed.send(key));
    });
    keys
}
