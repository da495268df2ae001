//! What the store says about a session: nothing, moved, or dead.
//!
//! A session that neither moved nor died has no mark. A mark only ever changes by a compare-and-swap, so a move and a
//! burial cannot both happen, and dead is final.

use bytes::{BufMut, Bytes, BytesMut};

use crate::backend::Slot;
use crate::limits::VOID_CLAIMS_MAX;
use crate::name::{ClaimNumber, Incarnation};

const FORMAT: u8 = 1;
const KIND_MOVED: u8 = 1;
const KIND_DEAD: u8 = 2;

/// A session's mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Vouched for by `to` since its move number `number`.
    Moved {
        /// The broker that vouches.
        to: Incarnation,
        /// The client's number of the move.
        number: u32,
        /// Claims that count as dead: lock requests that the client gave up when it moved.
        void: Vec<ClaimNumber>,
        /// Claims that an administrator takes away: lost, and free when the client has confirmed it or had its time.
        taken: Vec<ClaimNumber>,
        /// An administrator ends the session: nobody takes it over any more.
        ending: bool,
    },
    /// Buried. Final.
    Dead,
}

/// A mark that cannot be understood. Nothing is guessed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session's mark has an unknown format or a wrong checksum")]
pub struct MarkError;

impl Mark {
    /// What stands at a mark's key; absent if nothing does.
    pub fn at(slot: &Slot) -> Result<Option<Self>, MarkError> {
        slot.bytes.as_ref().map(|bytes| Self::decode(bytes)).transpose()
    }

    /// As bytes: format, kind, fields, checksum.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(32);
        out.put_u8(FORMAT);
        match self {
            Self::Moved { to, number, void, taken, ending } => {
                out.put_u8(KIND_MOVED);
                out.put_u64_le(to.0);
                out.put_u32_le(*number);
                out.put_u8(u8::from(*ending));
                for claims in [void, taken] {
                    out.put_u16_le(claims.len() as u16);
                    for claim in claims {
                        out.put_u64_le(claim.0);
                    }
                }
            }
            Self::Dead => out.put_u8(KIND_DEAD),
        }
        let sum = crc32c::crc32c(&out);
        out.put_u32_le(sum);
        out.freeze()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MarkError> {
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(MarkError)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
            return Err(MarkError);
        }
        match body {
            [FORMAT, KIND_DEAD] => Ok(Self::Dead),
            [FORMAT, KIND_MOVED, rest @ ..] => Self::decode_moved(rest).ok_or(MarkError),
            _ => Err(MarkError),
        }
    }

    fn decode_moved(rest: &[u8]) -> Option<Self> {
        let (to, rest) = rest.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (ending, rest) = rest.split_first()?;
        let (void, rest) = decode_claims(rest)?;
        let (taken, rest) = decode_claims(rest)?;
        if *ending > 1 || !rest.is_empty() {
            return None;
        }
        let (to, number) = (Incarnation(u64::from_le_bytes(*to)), u32::from_le_bytes(*number));
        Some(Self::Moved { to, number, void, taken, ending: *ending == 1 })
    }
}

/// A counted list, and what follows it.
fn decode_claims(bytes: &[u8]) -> Option<(Vec<ClaimNumber>, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_le_bytes(*count));
    if count > VOID_CLAIMS_MAX {
        return None;
    }
    let (list, rest) = rest.split_at_checked(count * 8)?;
    let (chunks, _) = list.as_chunks::<8>();
    Some((chunks.iter().map(|chunk| ClaimNumber(u64::from_le_bytes(*chunk))).collect(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_round_trip_and_damaged_ones_are_refused() {
        let moved = Mark::Moved {
            to: Incarnation(7),
            number: 3,
            void: vec![ClaimNumber(1), ClaimNumber(9)],
            taken: vec![ClaimNumber(4)],
            ending: false,
        };
        let ending = Mark::Moved { to: Incarnation(7), number: 0, void: Vec::new(), taken: Vec::new(), ending: true };
        for mark in [moved, ending, Mark::Dead] {
            let bytes = mark.encode();
            assert_eq!(Mark::decode(&bytes), Ok(mark));
            for at in 0..bytes.len() {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 0x40;
                assert_eq!(Mark::decode(&damaged), Err(MarkError));
                assert_eq!(Mark::decode(&bytes[..at]), Err(MarkError));
            }
        }
    }

    #[test]
    fn a_mark_of_an_unknown_format_is_refused() {
        let mut bytes = vec![9, KIND_DEAD];
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        assert_eq!(Mark::decode(&bytes), Err(MarkError));
    }
}
