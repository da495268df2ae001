//! Reading a resource, and checking everything that a reader relies on.

use bytes::Bytes;

use crate::limits::VALUE_BLOCK_BYTES_MAX;
use crate::mode::{ConversionKind, Mode};
use crate::name::{
    ClaimId, ClaimNumber, FENCE_PLACES, Fence, Incarnation, Label, OperationNumber, SessionId, Stamp, Version,
};
use crate::resource::{Alternate, Claim, Ended, Grant, OperationKind, Queue, Resource, Table, ValueBlock};

use super::{KIND_MODES, RecordError, THIS_WRITE, VERSION_MAX, WITH_KIND, bits};
use crate::format::OLDEST;

const CHECKSUM: usize = 4;

/// A claim takes at least this many bytes: a bound for counts before anything is allocated.
const CLAIM_MIN: usize = 1 + 1 + 1 + 4 + 6 + 8;

/// The resource that was stored with this version.
pub(crate) fn decode(bytes: &[u8], version: Version, format_max: u8) -> Result<Resource, RecordError> {
    let Some(format) = bytes.first().copied() else { return Err(malformed("it is empty")) };
    if version > VERSION_MAX {
        return Err(malformed("its version is too large for fences"));
    }
    let Some((body, checksum)) = bytes.split_last_chunk::<CHECKSUM>() else {
        return Err(malformed("it is too short"));
    };
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(RecordError::Checksum);
    }
    // With a right checksum it is no damage: it was written by a later program.
    if !(OLDEST..=format_max).contains(&format) {
        return Err(RecordError::Format(format));
    }
    let mut reader = Reader { rest: body.get(1..).unwrap_or_default(), version };
    if format >= WITH_KIND && reader.byte()? != KIND_MODES {
        return Err(malformed("it is of a kind that this program does not know"));
    }
    let resource = resource(&mut reader)?;
    if !reader.rest.is_empty() {
        return Err(malformed("it has bytes behind its end"));
    }
    Ok(resource)
}

fn malformed(what: &'static str) -> RecordError {
    RecordError::Malformed(what)
}

fn resource(reader: &mut Reader<'_>) -> Result<Resource, RecordError> {
    let invalid = match reader.byte()? {
        0 => false,
        1 => true,
        _ => return Err(malformed("it has unknown flags")),
    };
    let bytes = value_block(reader)?;
    let value = ValueBlock { bytes, seq: reader.number()?, invalid };
    let mut counts = [0; 3];
    for count in &mut counts {
        *count = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
    }
    let claims = counts.iter().fold(0, |sum: usize, count| sum.saturating_add(*count));
    if claims > reader.rest.len() / CLAIM_MIN {
        return Err(malformed("it is too short for its claims"));
    }
    if claims == 0 && value != ValueBlock::default() {
        return Err(malformed("it has a value block but no claims"));
    }
    let table = table(counts, reader)?;
    Ok(Resource { table, value })
}

fn value_block(reader: &mut Reader<'_>) -> Result<Bytes, RecordError> {
    let (length, used) = (reader.number()?, reader.number()?);
    if length > VALUE_BLOCK_BYTES_MAX as u64 || used > length {
        return Err(malformed("its value block is too long"));
    }
    let stored = reader.take(used as usize)?;
    if stored.last() == Some(&0) {
        return Err(malformed("its value block ends in a needless zero"));
    }
    let mut bytes = vec![0; length as usize];
    bytes[..stored.len()].copy_from_slice(stored);
    Ok(bytes.into())
}

fn table(counts: [usize; 3], reader: &mut Reader<'_>) -> Result<Table, RecordError> {
    let mut claims: Vec<Claim> = Vec::with_capacity(counts.iter().sum());
    let mut parties = Vec::new();
    let mut held = [false; 6];
    for (queue, count) in [Queue::Granted, Queue::Converting, Queue::Waiting].into_iter().zip(counts) {
        for _ in 0..count {
            let claim = claim(queue, &mut parties, reader)?;
            if let Some(mode) = claim.granted {
                if Mode::ALL.into_iter().any(|other| held[other as usize] && !other.compatible(mode)) {
                    return Err(malformed("it has conflicting grants"));
                }
                held[mode as usize] = true;
            }
            claims.push(claim);
        }
    }
    Table::restore(claims, parties).ok_or(malformed("it has a claim, or a session and owner, twice"))
}

/// One claim. Its session and owner are added to the parties if they appear for the first time.
fn claim(queue: Queue, parties: &mut Vec<(SessionId, Label)>, reader: &mut Reader<'_>) -> Result<Claim, RecordError> {
    let party = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
    if party == parties.len() {
        parties.push((reader.session()?, reader.text()?));
    }
    let (session, _) = parties.get(party).ok_or(malformed("a claim names no session"))?;
    let number = ClaimNumber(reader.number()?);
    let operation = OperationNumber(reader.short()?);
    let state = State::new(u32::from_le_bytes(reader.array()?))?;
    let mut claim = Claim::new(ClaimId { session: *session, number }, operation, state.kind);
    claim.party = party as u32;
    claim.queue = queue;
    claim.since_ms = reader.since()?;
    state.give_to(&mut claim);
    if claim.granted.is_some() {
        claim.grant_seq = reader.short()?;
        claim.fence = Some(reader.stamp()?);
    }
    if queue != Queue::Granted {
        claim.ticket = Some(reader.stamp()?);
    }
    if state.has(bits::LABEL) {
        claim.label = reader.text()?;
        if claim.label.is_empty() {
            return Err(malformed("a claim has an empty label"));
        }
    }
    if state.has(bits::FORMER) {
        let (session, number) = (reader.session()?, ClaimNumber(reader.number()?));
        claim.former = Some(Box::new(ClaimId { session, number }));
    }
    match contradiction(&claim) {
        Some(what) => Err(malformed(what)),
        None => Ok(claim),
    }
}

/// What in a claim cannot be. Each queue demands and forbids some fields (checklist 4).
fn contradiction(claim: &Claim) -> Option<&'static str> {
    let pending = claim.queue != Queue::Granted;
    let holding = claim.queue != Queue::Waiting;
    let adopted = claim.kind == OperationKind::Adopt;
    let rules = [
        (claim.granted.is_some() != holding, "a claim's granted mode does not fit its queue"),
        (claim.requested.is_some() != pending, "a claim's requested mode does not fit its queue"),
        (holding && claim.grant_seq == 0, "a granted claim was never granted"),
        (claim.queue == Queue::Waiting && claim.kind != OperationKind::Lock, "a waiting claim is no new request"),
        (
            claim.queue == Queue::Converting && claim.kind != OperationKind::Convert,
            "a converting claim does not convert",
        ),
        (pending && claim.ended != Ended::Granted, "a pending operation has ended"),
        (pending && claim.grant != Grant::default(), "a pending operation was granted"),
        (!pending && (claim.alternate.is_some() || claim.no_order), "a granted claim has options of a pending one"),
        (claim.grant.value_read && !claim.value_wanted, "a value was read but not wanted"),
        (
            claim.ended != Ended::Granted && claim.kind != OperationKind::Convert,
            "a claim was kept after its request failed",
        ),
        (
            claim.ended != Ended::Granted && (claim.grant != Grant::default() || claim.value_wanted),
            "an operation that failed was granted",
        ),
        (claim.demoted && claim.kind != OperationKind::Convert, "a claim was demoted without a conversion"),
        (
            claim.demoted && claim.granted != Some(Mode::NL) && (pending || claim.ended != Ended::Granted),
            "a demoted claim is not at NL",
        ),
        (claim.orphan && (!claim.persistent || pending || claim.blocking), "an orphan cannot be one"),
        (claim.level.is_some() && !(claim.blocking && holding), "a claim was told what it does not want to hear"),
        (claim.level == Some(Mode::NL), "a claim was told of mode NL, which blocks nothing"),
        (adopted != claim.former.is_some(), "an adoption lacks its former claim"),
        (!alternate_fits(claim), "an alternate mode does not fit"),
    ];
    rules.into_iter().find(|(broken, _)| *broken).map(|(_, what)| what)
}

/// N2 and A5: an alternate mode is another than that requested, and stronger than that held.
fn alternate_fits(claim: &Claim) -> bool {
    let Some(alternate) = claim.alternate.map(Alternate::mode) else {
        return true;
    };
    let stronger = claim.granted.is_none_or(|held| held.conversion(alternate) == ConversionKind::Up);
    stronger && claim.requested != Some(alternate)
}

/// The bits of a claim's state, checked.
struct State {
    bits: u32,
    kind: OperationKind,
    ended: Ended,
    alternate: Option<Alternate>,
    granted: Option<Mode>,
    requested: Option<Mode>,
    level: Option<Mode>,
}

impl State {
    fn new(state: u32) -> Result<Self, RecordError> {
        if state & !bits::ALL != 0 {
            return Err(malformed("a claim has unknown flags"));
        }
        let two = |shift: u32| state >> shift & 0b11;
        let mode = |shift: u32| match (state >> shift & 0b111) as u8 {
            0 => Ok(None),
            number => Mode::from_number(number - 1).map(Some).ok_or(malformed("a claim has an unknown mode")),
        };
        Ok(Self {
            bits: state,
            kind: match two(bits::KIND) {
                0 => OperationKind::Lock,
                1 => OperationKind::Convert,
                2 => OperationKind::Adopt,
                _ => return Err(malformed("a claim has an unknown operation")),
            },
            ended: match two(bits::ENDED) {
                0 => Ended::Granted,
                1 => Ended::Deadlock,
                2 => Ended::Cancelled,
                _ => Ended::TimedOut,
            },
            alternate: match two(bits::ALTERNATE) {
                0 => None,
                1 => Some(Alternate::Pr),
                2 => Some(Alternate::Cw),
                _ => return Err(malformed("a claim has an unknown alternate mode")),
            },
            granted: mode(bits::GRANTED)?,
            requested: mode(bits::REQUESTED)?,
            level: mode(bits::LEVEL)?,
        })
    }

    fn has(&self, bit: u32) -> bool {
        self.bits & bit != 0
    }

    fn give_to(&self, claim: &mut Claim) {
        claim.granted = self.granted;
        claim.requested = self.requested;
        claim.level = self.level;
        claim.alternate = self.alternate;
        claim.ended = self.ended;
        claim.blocking = self.has(bits::BLOCKING);
        claim.persistent = self.has(bits::PERSISTENT);
        claim.orphan = self.has(bits::ORPHAN);
        claim.no_order = self.has(bits::NO_ORDER);
        claim.value_wanted = self.has(bits::VALUE_WANTED);
        claim.demoted = self.has(bits::DEMOTED);
        claim.grant = Grant {
            immediate: self.has(bits::IMMEDIATE),
            alternate: self.has(bits::ALTERNATE_TAKEN),
            value_read: self.has(bits::VALUE_READ),
        };
    }
}

/// What is left to read.
struct Reader<'a> {
    rest: &'a [u8],
    version: Version,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(malformed("it is too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(malformed("it is too short"))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, RecordError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, RecordError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(malformed("a number is too large"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(malformed("a number has needless bytes"));
                }
                return Ok(value);
            }
        }
        Err(malformed("a number is too large"))
    }

    fn short(&mut self) -> Result<u32, RecordError> {
        u32::try_from(self.number()?).map_err(|_| malformed("a number is too large"))
    }

    fn since(&mut self) -> Result<u64, RecordError> {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.array::<6>()?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn session(&mut self) -> Result<SessionId, RecordError> {
        let opener = Incarnation(u64::from_le_bytes(self.array()?));
        let serial = u32::from_le_bytes(self.array()?);
        let ttl_ms = u32::from_le_bytes(self.array()?);
        Ok(SessionId { opener, serial, ttl_ms })
    }

    fn text(&mut self) -> Result<Label, RecordError> {
        let length = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| malformed("a text is not UTF-8"))?;
        Label::new(text).map_err(|_| malformed("a text is too long or has control characters"))
    }

    fn stamp(&mut self) -> Result<Stamp, RecordError> {
        let stored = u64::from_le_bytes(self.array()?);
        if stored & THIS_WRITE == 0 {
            return Ok(Stamp::Known(Fence(stored)));
        }
        let index = stored & !THIS_WRITE;
        if index >= FENCE_PLACES {
            return Err(malformed("a fence names no place in its write"));
        }
        Ok(Stamp::Known(Fence::new(self.version, index as u16)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A claim that could be one: granted, converting or waiting.
    fn plain(queue: Queue, number: u64, granted: Option<Mode>, requested: Option<Mode>) -> Claim {
        let session = SessionId { opener: Incarnation(1), serial: 1, ttl_ms: 1000 };
        let kind = if queue == Queue::Converting { OperationKind::Convert } else { OperationKind::Lock };
        let mut claim = Claim::new(ClaimId { session, number: ClaimNumber(number) }, OperationNumber(1), kind);
        claim.queue = queue;
        claim.granted = granted;
        claim.requested = requested;
        if granted.is_some() {
            claim.grant_seq = 1;
            claim.fence = Some(Stamp::Known(Fence(1)));
        }
        if queue != Queue::Granted {
            claim.ticket = Some(Stamp::Known(Fence(1)));
        }
        claim
    }

    fn granted(number: u64, mode: Mode) -> Claim {
        plain(Queue::Granted, number, Some(mode), None)
    }

    fn converting() -> Claim {
        plain(Queue::Converting, 7, Some(Mode::CR), Some(Mode::EX))
    }

    fn waiting() -> Claim {
        plain(Queue::Waiting, 8, None, Some(Mode::EX))
    }

    /// Stores claims as they are, and reads them.
    fn read(claims: Vec<Claim>) -> Result<Resource, RecordError> {
        let session = claims[0].id.session;
        let table = Table::restore(claims, vec![(session, Label::default())]).unwrap();
        Resource::decode(&Resource { table, value: ValueBlock::zero(8) }.encode(), Version(3))
    }

    #[test]
    fn a_record_with_conflicting_grants_is_not_read() {
        assert!(read(vec![granted(1, Mode::PR), granted(2, Mode::PR), converting(), waiting()]).is_ok());
        assert_eq!(
            read(vec![granted(1, Mode::PR), granted(2, Mode::CW)]).unwrap_err(),
            malformed("it has conflicting grants")
        );
        let second = plain(Queue::Converting, 2, Some(Mode::PW), Some(Mode::EX));
        assert!(read(vec![granted(1, Mode::PR), second]).is_err());
    }

    #[test]
    fn a_claim_that_contradicts_itself_is_not_read() {
        type Break = fn(&mut Claim);
        let broken: &[(Claim, Break)] = &[
            (granted(1, Mode::PR), |claim| claim.granted = None),
            (granted(1, Mode::PR), |claim| claim.requested = Some(Mode::EX)),
            (granted(1, Mode::PR), |claim| claim.grant_seq = 0),
            (granted(1, Mode::PR), |claim| claim.ended = Ended::Deadlock),
            (granted(1, Mode::PR), |claim| claim.grant.value_read = true),
            (granted(1, Mode::PR), |claim| claim.no_order = true),
            (granted(1, Mode::PR), |claim| claim.alternate = Some(Alternate::Cw)),
            (granted(1, Mode::PR), |claim| claim.demoted = true),
            (granted(1, Mode::PR), |claim| claim.orphan = true),
            (granted(1, Mode::PR), |claim| claim.level = Some(Mode::EX)),
            (granted(1, Mode::PR), |claim| claim.kind = OperationKind::Adopt),
            (granted(1, Mode::PR), |claim| claim.former = Some(Box::new(claim.id))),
            (converting(), |claim| claim.kind = OperationKind::Lock),
            (converting(), |claim| claim.grant.immediate = true),
            (converting(), |claim| claim.ended = Ended::Cancelled),
            (converting(), |claim| claim.demoted = true),
            (converting(), |claim| (claim.alternate, claim.granted) = (Some(Alternate::Pr), Some(Mode::PR))),
            (waiting(), |claim| claim.kind = OperationKind::Convert),
            (waiting(), |claim| (claim.requested, claim.alternate) = (Some(Mode::PR), Some(Alternate::Pr))),
            (waiting(), |claim| (claim.blocking, claim.level) = (true, Some(Mode::EX))),
        ];
        for (index, (claim, broken)) in broken.iter().enumerate() {
            assert!(read(vec![claim.clone()]).is_ok(), "number {index} before");
            let mut claim = claim.clone();
            broken(&mut claim);
            assert!(matches!(read(vec![claim]), Err(RecordError::Malformed(_))), "number {index}");
        }
    }

    #[test]
    fn a_claim_or_a_session_twice_is_not_read() {
        let claims = || vec![granted(1, Mode::CR), granted(2, Mode::CR)];
        let party = || (claims()[0].id.session, Label::default());
        assert!(Table::restore(claims(), vec![party()]).is_some());
        assert!(Table::restore(claims(), vec![party(), party()]).is_none());
        assert!(Table::restore(vec![claims()[0].clone(), claims()[0].clone()], vec![party()]).is_none());
    }

    #[test]
    fn numbers_have_one_spelling() {
        let read = |bytes: &[u8]| Reader { rest: bytes, version: Version(1) }.number();
        assert_eq!(read(&[0x7f]), Ok(127));
        assert_eq!(read(&[0x80, 1]), Ok(128));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(u64::MAX));
        assert!(read(&[0x80, 0]).is_err(), "needless");
        assert!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).is_err(), "too large");
        assert!(read(&[0x80]).is_err(), "cut off");
    }
}
