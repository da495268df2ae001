//! What a broker tells the others about the store's memory, with each beat.
//!
//! It stands in the registration as text, which stores keep and give back as it is: the longest TTL in milliseconds, two
//! histories, the formats read and written, and the brokers known, in hexadecimal, with blanks between them.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use crate::format::Formats;
use crate::name::Incarnation;

/// Which history of the store answers. Another process that answers, or another copy of the data, may lack what was
/// acknowledged last, and so has another one. Only equality says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct History(pub u64);

impl History {
    /// That of a store in which nothing that was acknowledged is lost while its root record stands.
    pub const LASTING: Self = Self(0);

    /// That of which a store says this text: the same for all who ask, and never that of a lasting store.
    pub fn named(text: &str) -> Self {
        // FNV-1a: written out, because brokers of several versions must agree on it.
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(hash.max(1))
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The longest TTL that the broker vouches for, or may.
    pub session_ttl_max: Duration,
    /// The history in which nothing is missing that was acknowledged to the broker. The store takes a beat that says so
    /// only if it is true.
    pub checked: Option<History>,
    /// The history of which the broker knows that nobody believes in a lock that is not stored there.
    pub settled: Option<History>,
    /// The stored formats that it reads and writes.
    pub formats: Formats,
    /// The other brokers that it knows to be there.
    pub known: Vec<Incarnation>,
}

/// The text is not one that [`Standing`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what a broker says of the store's memory cannot be read")]
pub struct StandingError;

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.session_ttl_max.as_millis())?;
        for history in [self.checked, self.settled] {
            match history {
                Some(History(number)) => write!(f, " {number:016x}")?,
                None => f.write_str(" -")?,
            }
        }
        write!(f, " {} {}", self.formats.reads, self.formats.writes)?;
        for broker in &self.known {
            f.write_char(' ')?;
            broker.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for Standing {
    type Err = StandingError;

    /// Nothing at all is what a broker says that was declared dead before it registered.
    fn from_str(text: &str) -> Result<Self, StandingError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut words = text.split(' ');
        let ttl_ms = words.next().and_then(|word| word.parse().ok()).ok_or(StandingError)?;
        let mut history = || match words.next() {
            Some("-") => Ok(None),
            Some(word) => u64::from_str_radix(word, 16).map(|number| Some(History(number))).map_err(|_| StandingError),
            None => Err(StandingError),
        };
        let (checked, settled) = (history()?, history()?);
        let mut format = || words.next().and_then(|word| word.parse().ok()).ok_or(StandingError);
        let formats = Formats { reads: format()?, writes: format()? };
        let known = words.map(str::parse).collect::<Result<_, _>>().map_err(|_| StandingError)?;
        Ok(Self { session_ttl_max: Duration::from_millis(ttl_ms), checked, settled, formats, known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_reads_back_and_anything_else_is_refused() {
        let standing = Standing {
            session_ttl_max: Duration::from_secs(60),
            checked: Some(History(u64::MAX)),
            settled: None,
            formats: Formats { reads: 7, writes: 3 },
            known: vec![Incarnation(1), Incarnation(u64::MAX)],
        };
        assert_eq!(standing.to_string(), "60000 ffffffffffffffff - 7 3 0000000000000001 ffffffffffffffff");
        for standing in [standing, Standing { settled: Some(History::LASTING), ..Standing::default() }] {
            assert_eq!(standing.to_string().parse(), Ok(standing));
        }
        assert_eq!("".parse(), Ok(Standing::default()));
        for text in [
            "x - - 1 1",
            "1",
            "1 -",
            "1 - x",
            "1 - -",
            "1 - - 1",
            "1 - - 1 x",
            "1 - - 1 1 7",
            "1 - - 1 1 ",
            " ",
            "-1 - - 1 1",
        ] {
            assert_eq!(text.parse::<Standing>(), Err(StandingError), "{text}");
        }
    }
}
