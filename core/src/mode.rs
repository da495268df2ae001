//! The six lock modes of a distributed lock manager.
//!
//! The tables are literals: CW and PR have no order, so nothing here may be computed with `max` or `<`.

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
