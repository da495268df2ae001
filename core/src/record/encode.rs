//! Writing a resource.

use bytes::Bytes;

use crate::mode::Mode;
use crate::name::{ClaimId, SessionId, Stamp};
use crate::resource::{Alternate, Claim, Ended, OperationKind, Queue, Resource, Table};

use super::{KIND_MODES, SINCE_MAX, THIS_WRITE, WITH_KIND, bits};

/// The resource as bytes, in one buffer that is never grown, and cut to what was used: stores keep it.
pub(crate) fn encode(resource: &Resource, format: u8) -> Bytes {
    let mut out = Vec::with_capacity(resource.encoded_len_max());
    head(resource, format, &mut out);
    let table = &resource.table;
    let mut parties = Parties { numbers: vec![u32::MAX; table.party_slots()], next: 0 };
    for queue in [Queue::Granted, Queue::Converting, Queue::Waiting] {
        for slot in table.line(queue).iter() {
            claim(table, table.get(slot), &mut parties, &mut out);
        }
    }
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.into_boxed_slice().into()
}

/// Everything before the claims.
fn head(resource: &Resource, format: u8, out: &mut Vec<u8>) {
    out.push(format);
    if format >= WITH_KIND {
        out.push(KIND_MODES);
    }
    out.push(u8::from(resource.value.invalid));
    let value = &resource.value.bytes;
    let used = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    number(value.len() as u64, out);
    number(used as u64, out);
    out.extend_from_slice(&value[..used]);
    number(resource.value.seq, out);
    for queue in [Queue::Granted, Queue::Converting, Queue::Waiting] {
        number(resource.table.line(queue).len() as u64, out);
    }
}

/// The numbers that parties get in the record, by their index in the table.
struct Parties {
    numbers: Vec<u32>,
    next: u32,
}

fn claim(table: &Table, claim: &Claim, parties: &mut Parties, out: &mut Vec<u8>) {
    let mut fixed = Fixed::default();
    let known = &mut parties.numbers[claim.party as usize];
    if *known == u32::MAX {
        *known = parties.next;
        parties.next += 1;
        number(u64::from(*known), out);
        let party = table.party(claim);
        session(party.session, out);
        text(party.owner.as_str(), out);
    } else {
        fixed.number(u64::from(*known));
    }
    fixed.number(claim.id.number.0);
    fixed.number(u64::from(claim.operation.0));
    fixed.bytes(state(claim).to_le_bytes());
    let [since @ .., _, _] = claim.since_ms.min(SINCE_MAX).to_le_bytes();
    fixed.bytes::<6>(since);
    if let Some(fence) = claim.fence {
        fixed.number(u64::from(claim.grant_seq));
        fixed.bytes(stamp(fence));
    }
    if let Some(ticket) = claim.ticket {
        fixed.bytes(stamp(ticket));
    }
    out.extend_from_slice(fixed.written());
    if !claim.label.is_empty() {
        text(claim.label.as_str(), out);
    }
    if let Some(former) = claim.former.as_deref() {
        former_claim(former, out);
    }
}

/// What nearly every claim consists of, gathered on the stack: a record is written at every change, and a hot one has
/// very many claims.
struct Fixed {
    bytes: [u8; Fixed::MAX],
    length: usize,
}

impl Default for Fixed {
    fn default() -> Self {
        Self { bytes: [0; Fixed::MAX], length: 0 }
    }
}

impl Fixed {
    /// Party, claim number, operation, state, time, grant sequence number, fence, ticket.
    const MAX: usize = 10 + 10 + 10 + 4 + 6 + 10 + 8 + 8;

    fn bytes<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.length..self.length + N].copy_from_slice(&bytes);
        self.length += N;
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes([value as u8 | 0x80]);
            value >>= 7;
        }
        self.bytes([value as u8]);
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// See [`bits`].
fn state(claim: &Claim) -> u32 {
    let mode = |mode: Option<Mode>| mode.map_or(0, |mode| u32::from(mode.number()) + 1);
    let alternate = match claim.alternate {
        None => 0,
        Some(Alternate::Pr) => 1,
        Some(Alternate::Cw) => 2,
    };
    let kind = match claim.kind {
        OperationKind::Lock => 0,
        OperationKind::Convert => 1,
        OperationKind::Adopt => 2,
    };
    let ended = match claim.ended {
        Ended::Granted => 0,
        Ended::Deadlock => 1,
        Ended::Cancelled => 2,
        Ended::TimedOut => 3,
    };
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    mode(claim.granted) << bits::GRANTED
        | mode(claim.requested) << bits::REQUESTED
        | mode(claim.level) << bits::LEVEL
        | alternate << bits::ALTERNATE
        | kind << bits::KIND
        | ended << bits::ENDED
        | flag(claim.blocking, bits::BLOCKING)
        | flag(claim.persistent, bits::PERSISTENT)
        | flag(claim.orphan, bits::ORPHAN)
        | flag(claim.no_order, bits::NO_ORDER)
        | flag(claim.value_wanted, bits::VALUE_WANTED)
        | flag(claim.grant.value_read, bits::VALUE_READ)
        | flag(claim.grant.immediate, bits::IMMEDIATE)
        | flag(claim.demoted, bits::DEMOTED)
        | flag(claim.grant.alternate, bits::ALTERNATE_TAKEN)
        | flag(!claim.label.is_empty(), bits::LABEL)
        | flag(claim.former.is_some(), bits::FORMER)
}

fn former_claim(id: &ClaimId, out: &mut Vec<u8>) {
    session(id.session, out);
    number(id.number.0, out);
}

fn session(id: SessionId, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.opener.0.to_le_bytes());
    out.extend_from_slice(&id.serial.to_le_bytes());
    out.extend_from_slice(&id.ttl_ms.to_le_bytes());
}

fn stamp(stamp: Stamp) -> [u8; 8] {
    let stored = match stamp {
        Stamp::Known(fence) => fence.0 & !THIS_WRITE,
        Stamp::ThisWrite(index) => THIS_WRITE | u64::from(index),
    };
    stored.to_le_bytes()
}

/// Owners and labels are at most 64 bytes.
fn text(text: &str, out: &mut Vec<u8>) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
