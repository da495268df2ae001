//! The six lock modes of a distributed lock manager.
//!
//! The tables are literals: CW and PR have no order, so nothing here may be computed with `max` or `<`.

use std::fmt;
use std::str::FromStr;

/// A lock mode. The discriminant is its DLM number; its one use is the level of blocking notifications (rule B3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Null: keeps the resource and its value block alive.
    NL = 0,
    /// Concurrent read.
    CR = 1,
    /// Concurrent write.
    CW = 2,
    /// Protected read.
    PR = 3,
    /// Protected write.
    PW = 4,
    /// Exclusive.
    EX = 5,
}

/// Which way a conversion goes (section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConversionKind {
    /// To a stronger mode.
    Up,
    /// To a weaker mode: always granted at once.
    Down,
    /// Between CW and PR, which have no order: may have to wait.
    Sideways,
    /// To the mode already held: always granted at once.
    Same,
}

/// What an operation does with the value block (section 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueMove {
    /// Nothing moves.
    Nothing,
    /// The resource's value block is copied to the caller.
    Read,
    /// The caller's bytes replace the resource's value block.
    Write,
}

const Y: bool = true;
const N: bool = false;

/// M1, section 3. Row and column in the order NL CR CW PR PW EX; symmetric.
#[rustfmt::skip]
const COMPATIBLE: [[bool; 6]; 6] = [
    // NL CR CW PR PW EX
    [  Y, Y, Y, Y, Y, Y ], // NL
    [  Y, Y, Y, Y, Y, N ], // CR
    [  Y, Y, Y, N, N, N ], // CW
    [  Y, Y, N, Y, N, N ], // PR
    [  Y, Y, N, N, N, N ], // PW
    [  Y, N, N, N, N, N ], // EX
];

const U: ConversionKind = ConversionKind::Up;
const D: ConversionKind = ConversionKind::Down;
const S: ConversionKind = ConversionKind::Sideways;
const E: ConversionKind = ConversionKind::Same;

/// Section 4. Row: granted; column: requested.
#[rustfmt::skip]
const CONVERSION: [[ConversionKind; 6]; 6] = [
    // NL CR CW PR PW EX
    [  E, U, U, U, U, U ], // NL
    [  D, E, U, U, U, U ], // CR
    [  D, D, E, S, U, U ], // CW
    [  D, D, S, E, U, U ], // PR
    [  D, D, D, D, E, U ], // PW
    [  D, D, D, D, D, E ], // EX
];

/// A3: the pairs for which a conversion may ask to wait behind other converters.
#[rustfmt::skip]
const QUEUE_CONVERSION_LEGAL: [[bool; 6]; 6] = [
    // NL CR CW PR PW EX
    [  N, Y, Y, Y, Y, Y ], // NL
    [  N, N, Y, Y, Y, Y ], // CR
    [  N, N, N, Y, Y, Y ], // CW
    [  N, N, Y, N, Y, Y ], // PR
    [  N, N, N, N, N, Y ], // PW
    [  N, N, N, N, N, N ], // EX
];

const O: ValueMove = ValueMove::Nothing;
const R: ValueMove = ValueMove::Read;
const W: ValueMove = ValueMove::Write;

/// Section 12, rows of conversions. Row: granted; column: new mode.
#[rustfmt::skip]
const VALUE_ON_CONVERSION: [[ValueMove; 6]; 6] = [
    // NL CR CW PR PW EX
    [  R, R, R, R, R, R ], // NL
    [  O, R, R, R, R, R ], // CR
    [  O, O, R, R, R, R ], // CW
    [  O, O, O, R, R, R ], // PR
    [  W, W, W, W, W, R ], // PW
    [  W, W, W, W, W, W ], // EX
];

/// Section 12, row of new requests.
const VALUE_ON_NEW_GRANT: [ValueMove; 6] = [R, R, R, R, R, R];

/// Section 12, release row: the column is the mode given up.
const VALUE_ON_RELEASE: [ValueMove; 6] = [O, O, O, O, W, W];

impl Mode {
    /// All six, by number.
    pub const ALL: [Mode; 6] = [Mode::NL, Mode::CR, Mode::CW, Mode::PR, Mode::PW, Mode::EX];

    /// True if both modes may be granted on one resource at the same time (M1).
    pub fn compatible(self, other: Mode) -> bool {
        COMPATIBLE[self as usize][other as usize]
    }

    /// The partial order of strength (M3): true if this mode is the other one or weaker. CW and PR are unordered.
    pub fn at_most(self, other: Mode) -> bool {
        matches!(self.conversion(other), ConversionKind::Up | ConversionKind::Same)
    }

    /// Which way a conversion from this mode to another goes (section 4).
    pub fn conversion(self, to: Mode) -> ConversionKind {
        CONVERSION[self as usize][to as usize]
    }

    /// True if a conversion from this mode to another may carry QUECVT (A3).
    pub fn queue_conversion_legal(self, to: Mode) -> bool {
        QUEUE_CONVERSION_LEGAL[self as usize][to as usize]
    }

    /// The DLM number, 0 to 5. Only for levels of blocking notifications (B3) and for stored bytes, never for strength
    /// (M4).
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The mode with this DLM number.
    pub fn from_number(number: u8) -> Option<Mode> {
        Mode::ALL.get(usize::from(number)).copied()
    }
}

/// What a grant does with the value block, if asked to (section 12). `from` is absent for a new request.
pub fn value_on_grant(from: Option<Mode>, to: Mode) -> ValueMove {
    match from {
        Some(from) => VALUE_ON_CONVERSION[from as usize][to as usize],
        None => VALUE_ON_NEW_GRANT[to as usize],
    }
}

/// What a release of `mode` does with the value block, if asked to (section 12).
pub fn value_on_release(mode: Mode) -> ValueMove {
    VALUE_ON_RELEASE[mode as usize]
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::NL => "NL",
            Mode::CR => "CR",
            Mode::CW => "CW",
            Mode::PR => "PR",
            Mode::PW => "PW",
            Mode::EX => "EX",
        })
    }
}

/// Text that names no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a mode is one of NL, CR, CW, PR, PW and EX")]
pub struct ModeError;

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let named = |mode: &Mode| mode.to_string().eq_ignore_ascii_case(text);
        Mode::ALL.into_iter().find(named).ok_or(ModeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> impl Iterator<Item = (Mode, Mode)> {
        Mode::ALL.into_iter().flat_map(|a| Mode::ALL.into_iter().map(move |b| (a, b)))
    }

    #[test]
    fn compatibility_is_symmetric() {
        for (a, b) in pairs() {
            assert_eq!(a.compatible(b), b.compatible(a), "{a} {b}");
        }
    }

    #[test]
    fn strength_is_inclusion_of_compatibility() {
        for (a, b) in pairs() {
            let included = Mode::ALL.into_iter().all(|c| !b.compatible(c) || a.compatible(c));
            assert_eq!(a.at_most(b), included, "{a} {b}");
        }
        assert!(!Mode::CW.at_most(Mode::PR) && !Mode::PR.at_most(Mode::CW));
    }

    #[test]
    fn conversions_are_14_up_14_down_2_sideways_and_6_same() {
        let count = |kind| pairs().filter(|(a, b)| a.conversion(*b) == kind).count();
        let counts = [U, D, S, E].map(count);
        assert_eq!(counts, [14, 14, 2, 6]);
        for (a, b) in pairs() {
            let expected = match (a.at_most(b), b.at_most(a)) {
                (true, true) => E,
                (true, false) => U,
                (false, true) => D,
                (false, false) => S,
            };
            assert_eq!(a.conversion(b), expected, "{a} {b}");
        }
    }

    #[test]
    fn queue_conversion_is_legal_for_exactly_up_and_sideways() {
        for (a, b) in pairs() {
            assert_eq!(a.queue_conversion_legal(b), matches!(a.conversion(b), U | S), "{a} {b}");
        }
        assert_eq!(pairs().filter(|(a, b)| a.queue_conversion_legal(*b)).count(), 16);
    }

    #[test]
    fn a_value_is_written_only_by_steps_that_are_granted_at_once() {
        for (a, b) in pairs() {
            if value_on_grant(Some(a), b) == W {
                assert!(matches!(a.conversion(b), D | E), "{a} {b}");
            }
        }
    }

    #[test]
    fn names_and_numbers_lead_back_to_the_mode() {
        for mode in Mode::ALL {
            assert_eq!(Mode::from_number(mode.number()), Some(mode));
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(mode.to_string().to_lowercase().parse(), Ok(mode));
        }
        assert_eq!(Mode::from_number(6), None);
        assert_eq!("XX".parse::<Mode>(), Err(ModeError));
    }
}
