//! The scripts, and the words of their replies.
//!
//! All of them begin with `prelude.lua`, which says how they check and what their replies mean.

use std::sync::LazyLock;

use redis::{Cmd, Value};

/// A script: its text, and the digest by which a server that has seen it knows it.
pub(crate) struct Script {
    text: &'static str,
    digest: String,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)+) => {
        $(
            $(#[$doc])*
            pub(crate) static $name: LazyLock<Script> =
                LazyLock::new(|| Script::new(concat!(include_str!("scripts/prelude.lua"), include_str!($file))));
        )+
    };
}

scripts! {
    /// A batch of compare-and-swaps.
    COMMIT = "scripts/commit.lua";
    /// Moves a lane to a generation.
    ADVANCE = "scripts/advance.lua";
    /// Registers or renews.
    BEAT = "scripts/beat.lua";
    /// Makes the copy of a registration under another tag.
    ENLIST = "scripts/enlist.lua";
    /// Makes that copy `gone`.
    STRIKE = "scripts/strike.lua";
    /// A clean goodbye.
    LEAVE = "scripts/leave.lua";
    /// Turns another's registration into `gone`.
    EVICT = "scripts/evict.lua";
    /// Forgets a registration that is `gone`.
    FORGET = "scripts/forget.lua";
    /// Versions without bytes.
    VERSIONS = "scripts/versions.lua";
    /// Creates the root record.
    ROOT = "scripts/root.lua";
    /// Tries every command that the others use.
    TRIAL = "scripts/trial.lua";
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    /// The call by digest, which is short.
    pub(crate) fn by_digest(&self, call: &Call) -> Cmd {
        call.command("EVALSHA", self.digest.as_bytes())
    }

    /// The call with the whole text, for a server that has not seen it, or was restarted since.
    pub(crate) fn by_text(&self, call: &Call) -> Cmd {
        call.command("EVAL", self.text.as_bytes())
    }
}

/// The keys and arguments of one call of a script.
#[derive(Debug, Default)]
pub(crate) struct Call {
    keys: Vec<String>,
    arguments: Vec<bytes::Bytes>,
}

impl Call {
    /// One more key.
    pub(crate) fn key(&mut self, key: String) -> &mut Self {
        self.keys.push(key);
        self
    }

    /// One more argument.
    pub(crate) fn argument(&mut self, argument: impl Into<bytes::Bytes>) -> &mut Self {
        self.arguments.push(argument.into());
        self
    }

    fn command(&self, verb: &str, script: &[u8]) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(self.keys.len()).arg(&self.keys);
        for argument in &self.arguments {
            command.arg(&argument[..]);
        }
        command
    }
}

/// What a script answered.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// Done; what follows depends on the script.
    Ok(Vec<Value>),
    /// Not written: the registration is not live.
    Evicted,
    /// Not written: the lane moved on.
    Stale,
    /// Not written: another version stands there.
    Differs(Vec<u8>),
    /// Not written: the store remembers less than we do.
    Amnesia(String),
    /// Not written, for this reason.
    Refused(String),
    /// Perhaps half written.
    Partly(String),
    /// Not an answer of our scripts.
    Strange,
}

impl Reply {
    /// Reads a script's answer.
    pub(crate) fn parse(value: Value) -> Self {
        let Value::Array(mut parts) = value else { return Self::Strange };
        if parts.is_empty() {
            return Self::Strange;
        }
        let rest = parts.split_off(1);
        let word = bytes_of(&parts[0]).unwrap_or_default();
        let first = rest.first().and_then(bytes_of).unwrap_or_default();
        let text = || String::from_utf8_lossy(first).into_owned();
        match word {
            b"ok" => Self::Ok(rest),
            b"evicted" => Self::Evicted,
            b"stale" => Self::Stale,
            b"differs" => Self::Differs(first.to_vec()),
            b"amnesia" => Self::Amnesia(text()),
            b"refused" => Self::Refused(text()),
            b"partly" => Self::Partly(text()),
            _ => Self::Strange,
        }
    }
}

/// The bytes of a string that the server sent.
pub(crate) fn bytes_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(parts: &[&str]) -> Reply {
        Reply::parse(Value::Array(parts.iter().map(|part| Value::BulkString(part.as_bytes().to_vec())).collect()))
    }

    #[test]
    fn each_word_is_one_reply_and_anything_else_is_strange() {
        assert_eq!(reply(&["ok"]), Reply::Ok(Vec::new()));
        assert_eq!(reply(&["evicted"]), Reply::Evicted);
        assert_eq!(reply(&["stale"]), Reply::Stale);
        assert_eq!(reply(&["differs", "1"]), Reply::Differs(b"1".to_vec()));
        assert_eq!(reply(&["amnesia", "why"]), Reply::Amnesia("why".into()));
        assert_eq!(reply(&["refused", "why"]), Reply::Refused("why".into()));
        assert_eq!(reply(&["partly", "why"]), Reply::Partly("why".into()));
        assert_eq!(reply(&["OK"]), Reply::Strange);
        assert_eq!(reply(&[]), Reply::Strange);
        assert_eq!(Reply::parse(Value::Nil), Reply::Strange);
        assert_eq!(Reply::parse(Value::Array(vec![Value::Int(1)])), Reply::Strange);
    }
}
