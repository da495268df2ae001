//! What several tests of the machines share.

// Each test uses its part of this, and a test may panic.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod explore;
pub mod fuzz;
pub mod machine;
pub mod naive;
pub mod script;

use sixpin_core::name::{ClaimId, ClaimNumber, Incarnation, SessionId};
use sixpin_core::resource::Context;

/// Session number `serial` of one imaginary broker.
pub fn session(serial: u32) -> SessionId {
    SessionId { opener: Incarnation(0x51), serial, ttl_ms: 10_000 }
}

/// Claim `number` of session `serial`.
pub fn claim(serial: u32, number: u64) -> ClaimId {
    ClaimId { session: session(serial), number: ClaimNumber(number) }
}

/// Generous limits.
pub fn context(index: u16) -> Context {
    Context { index, wall_ms: 0, value_bytes: 32, queued_max: 1_000_000, record_bytes_max: 1 << 30 }
}
