//! How a command says that it failed: one sentence on standard error, a hint on what to do next, an exit status.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use sixpin_client::proto::Reason;
use sixpin_client::{Error as ClientError, Refused, Tried};

use super::exit;

/// What to do when no broker answers.
pub const NAME_ANOTHER: &str = "start a broker with `sixpin serve`, or name one with `--endpoints` or SIXPIN_ENDPOINTS";
/// What to do when TLS does not fit.
const LOOK_AT_TLS: &str = "name who is trusted with `--ca` or SIXPIN_CA, and what is shown with `--cert` and `--key` or SIXPIN_CERT and \
                           SIXPIN_KEY; https:// in front of an address is TLS, and http:// is none";
/// What to do when brokers answer but can not do what is asked.
pub const LOOK_AT_BROKERS: &str =
    "see how the broker is with `sixpin status`, or name others with `--endpoints` or SIXPIN_ENDPOINTS";
/// What to do when nobody answers who administers.
const NAME_ADMIN_LISTENER: &str =
    "administration has a listener of its own: name it with `--admin-endpoint` or SIXPIN_ADMIN_ENDPOINTS";

/// Why a command ends without having done what was asked.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    /// Absent if there is nothing to say: a reader that went away needs no explanation.
    message: Option<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure in one sentence, without a full stop.
    pub fn new(status: u8, message: impl Display) -> Self {
        Self { status, message: Some(message.to_string()), hint: None }
    }

    /// A failure of the arguments: what was asked for makes no sense.
    pub fn usage(message: impl Display) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// The end of a command whose reader went away, as in `sixpin ls | head`.
    pub fn reader_gone() -> Self {
        Self { status: 0, message: None, hint: None }
    }

    /// A failure that was already told.
    pub fn told(status: u8) -> Self {
        Self { status, message: None, hint: None }
    }

    /// The failure of a command whose status 1 is an answer.
    #[must_use]
    pub fn unsure(self) -> Self {
        let status = if self.status == exit::FAILURE { exit::UNSURE } else { self.status };
        Self { status, ..self }
    }

    /// What the user can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The same, of a failure with this status that has no hint yet.
    #[must_use]
    pub fn hint_if(self, status: u8, hint: impl Display) -> Self {
        if self.status == status && self.hint.is_none() { self.hint(hint) } else { self }
    }

    /// Why a command learned nothing from brokers.
    pub fn inspecting(error: ClientError) -> Self {
        Self::asking(error, NAME_ANOTHER)
    }

    /// Why a command did nothing through the admin listeners.
    pub fn administering(error: ClientError) -> Self {
        Self::asking(error, NAME_ADMIN_LISTENER)
    }

    fn asking(error: ClientError, unreachable: &str) -> Self {
        match error {
            ClientError::Unreachable { ref tried } => {
                let about_tls = tried.iter().any(Tried::is_about_tls);
                Self::new(exit::UNREACHABLE, error).hint(if about_tls { LOOK_AT_TLS } else { unreachable })
            }
            ClientError::Unsupported => Self::new(exit::FAILURE, error).hint(
                "inspection is on the broker's `--listen` address, administration on its `--admin-listen` address",
            ),
            ClientError::Denied(refused) => Self::denied(&refused),
            ClientError::Invalid(refused) => Self::usage(&refused).elsewhere(&refused),
            ClientError::Unavailable(refused) if refused.reason != Reason::NotHere => {
                Self::new(exit::UNREACHABLE, &refused).elsewhere(&refused)
            }
            ClientError::NotFound(refused)
            | ClientError::Busy(refused)
            | ClientError::Limit(refused)
            | ClientError::Damaged(refused)
            | ClientError::Unavailable(refused)
            | ClientError::Unknown(refused) => Self::new(exit::FAILURE, &refused).elsewhere(&refused),
            other => Self::new(exit::FAILURE, other),
        }
    }

    /// A broker does not know who asks, or does not let them.
    pub fn denied(refused: &Refused) -> Self {
        let failure = Self::new(exit::LOGIN, refused);
        if refused.reason == Reason::Unauthenticated {
            return failure.hint("show who you are with `--token-file` or SIXPIN_TOKEN, or with `--cert` and `--key`");
        }
        failure
    }

    /// Says whom to ask, where the broker that refused has said so.
    fn elsewhere(self, refused: &Refused) -> Self {
        match refused.address.as_str() {
            "" => self,
            // It was gone to, and is another one's seen from here.
            address if is_of_one_host(address) && refused.reason == Reason::NotHere => self.hint(
                "the broker of the session listens only on its own host: see which it is with `sixpin sessions` and ask \
                 there, or give it a `--admin-listen` that the others reach",
            ),
            address => self.hint(format_args!("ask the broker at `{address}`")),
        }
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// It as lines for people.
    pub fn lines(&self) -> String {
        let message = self.message.as_deref().map(|message| line("error", "1;31", message));
        let hint = self.hint.as_deref().map(|hint| line("hint", "1;36", hint));
        message.into_iter().chain(hint).collect()
    }

    /// What happened, in one sentence.
    pub fn text(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// Tells it on standard error.
    pub fn report(self) -> ExitCode {
        tell(&self.lines());
        ExitCode::from(self.status)
    }
}

/// Tells something on standard error that is no failure yet.
pub fn warn(message: impl Display) {
    tell(&warned(message));
}

/// Tells on standard error what is going on.
pub fn note(message: impl Display) {
    tell(&noted(message));
}

/// Something that is no failure yet, as a line for people.
pub fn warned(message: impl Display) -> String {
    line("warning", "1;33", &message.to_string())
}

/// What is going on, as a line for people.
pub fn noted(message: impl Display) -> String {
    line("sixpin", "1", &message.to_string())
}

/// Whether only programs of the same host can mean this address.
fn is_of_one_host(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

/// Whether standard error is a terminal that wants colours.
pub fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb") && std::io::stderr().is_terminal()
}

fn line(word: &str, colour: &str, text: &str) -> String {
    if coloured() { format!("\x1b[{colour}m{word}:\x1b[0m {text}\n") } else { format!("{word}: {text}\n") }
}

fn tell(text: &str) {
    // Nobody can be told that standard error is gone.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use sixpin_client::proto as v1;

    use super::*;

    fn elsewhere(address: &str) -> ClientError {
        let (message, address) = ("not here".into(), address.into());
        let mut error = v1::Error { message, address, ..v1::Error::default() };
        error.set_reason(Reason::NotHere);
        ClientError::Unavailable(Refused::from_proto(error))
    }

    #[test]
    fn a_broker_that_only_its_host_reaches_is_not_named_by_an_address() {
        let hint = |address: &str| Failure::administering(elsewhere(address)).hint.unwrap_or_default();
        assert_eq!(hint("north:6617"), "ask the broker at `north:6617`");
        assert_eq!(hint("10.0.0.1:6617"), "ask the broker at `10.0.0.1:6617`");
        for address in ["127.0.0.1:6617", "[::1]:6617"] {
            assert!(hint(address).contains("only on its own host"), "{}", hint(address));
        }
    }

    #[test]
    fn where_one_is_an_answer_no_failure_is_one() {
        let statuses =
            [exit::FAILURE, exit::USAGE, exit::UNREACHABLE].map(|status| Failure::told(status).unsure().status);
        assert_eq!(statuses, [exit::UNSURE, exit::USAGE, exit::UNREACHABLE]);
    }
}
