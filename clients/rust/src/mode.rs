//! The six lock modes, and which of them can be held together.

use sixpin_proto::v1;

/// A lock mode. CW and PR have no order between them, so modes are compared with tables and never with `<`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Null: allows nothing and excludes nothing; keeps the resource and its value block alive.
    NL = 1,
    /// Concurrent read: read while others read and write.
    CR = 2,
    /// Concurrent write: write while others read and write unprotected.
    CW = 3,
    /// Protected read: the ordinary shared lock.
    PR = 4,
    /// Protected write: the only writer, while others read unprotected. The update lock.
    PW = 5,
    /// Exclusive: the ordinary exclusive lock.
    EX = 6,
}

/// Row: held; column: wanted; in the order NL CR CW PR PW EX.
const COMPATIBLE: [[bool; 6]; 6] = [
    [true, true, true, true, true, true],
    [true, true, true, true, true, false],
    [true, true, true, false, false, false],
    [true, true, false, true, false, false],
    [true, true, false, false, false, false],
    [true, false, false, false, false, false],
];

impl Mode {
    /// All modes, in the order of their DLM numbers.
    pub const ALL: [Self; 6] = [Self::NL, Self::CR, Self::CW, Self::PR, Self::PW, Self::EX];

    /// Whether two claims on one resource may hold these modes at once.
    pub const fn compatible(self, other: Self) -> bool {
        COMPATIBLE[self as usize - 1][other as usize - 1]
    }

    /// The mode that a message carries; absent for `MODE_UNSPECIFIED` and for numbers from the future.
    pub fn from_proto(mode: i32) -> Option<Self> {
        usize::try_from(mode).ok()?.checked_sub(1).and_then(|index| Self::ALL.get(index).copied())
    }

    /// The mode as a message carries it.
    pub const fn to_proto(self) -> v1::Mode {
        match self {
            Self::NL => v1::Mode::Nl,
            Self::CR => v1::Mode::Cr,
            Self::CW => v1::Mode::Cw,
            Self::PR => v1::Mode::Pr,
            Self::PW => v1::Mode::Pw,
            Self::EX => v1::Mode::Ex,
        }
    }

    /// Two capital letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NL => "NL",
            Self::CR => "CR",
            Self::CW => "CW",
            Self::PR => "PR",
            Self::PW => "PW",
            Self::EX => "EX",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no lock mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a lock mode: use nl, cr, cw, pr (or shared), pw, ex (or exclusive)")]
pub struct UnknownMode(String);

impl std::str::FromStr for Mode {
    type Err = UnknownMode;

    /// Upper or lower case; `shared` is PR and `exclusive` is EX.
    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        let is = |name: &str| name.eq_ignore_ascii_case(text);
        match Self::ALL.into_iter().find(|mode| is(mode.as_str())) {
            Some(mode) => Ok(mode),
            None if is("shared") => Ok(Self::PR),
            None if is("exclusive") => Ok(Self::EX),
            None => Err(UnknownMode(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compatibility_is_symmetric() {
        for a in Mode::ALL {
            for b in Mode::ALL {
                assert_eq!(a.compatible(b), b.compatible(a), "{a} {b}");
            }
        }
    }

    #[test]
    fn pairs_that_conflict_are_exactly_those_of_the_rules() {
        let conflicts: Vec<String> = Mode::ALL
            .into_iter()
            .flat_map(|a| Mode::ALL.into_iter().map(move |b| (a, b)))
            .filter(|(a, b)| (*a as u8) <= (*b as u8) && !a.compatible(*b))
            .map(|(a, b)| format!("{a}-{b}"))
            .collect();
        assert_eq!(conflicts.join(" "), "CR-EX CW-PR CW-PW CW-EX PR-PW PR-EX PW-PW PW-EX EX-EX");
    }

    #[test]
    fn modes_survive_the_wire_and_text() {
        for mode in Mode::ALL {
            assert_eq!(Mode::from_proto(mode.to_proto() as i32), Some(mode));
            assert_eq!(mode.as_str().to_lowercase().parse(), Ok(mode));
        }
        assert_eq!(Mode::from_proto(0), None);
        assert_eq!(Mode::from_proto(7), None);
        assert!("xx".parse::<Mode>().is_err());
    }
}
