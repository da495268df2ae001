//! What the fuzz targets do with their bytes. Everything follows from the bytes, so a finding can be replayed.

use bytes::Bytes;
use sixpin_core::command::{
    CancelReason, Command, ConversionDeadlock, ConvertCommand, LockCommand, Options, Outcome, PurgeScope, Refusal,
};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimId, Fence, Label, OperationNumber, Version};
use sixpin_core::resource::{Context, Resource};

use super::naive::{INVALID, Naive};

const VALUE_BYTES: usize = 16;
const CLAIMS: u8 = 6;

/// Bytes as a stored record: as they are, and with the checksum that they should have. What decodes must encode to
/// something that decodes to the same, and no command on it may panic.
pub fn record(data: &[u8]) {
    decoded(data);
    let mut checked = data.to_vec();
    checked.extend_from_slice(&checksum(data).to_le_bytes());
    decoded(&checked);
}

fn decoded(data: &[u8]) {
    let version = Version(77);
    let Ok(resource) = Resource::decode(data, version) else { return };
    let known = resource.encode();
    assert!(known.len() <= resource.encoded_len_max());
    let again = Resource::decode(&known, version).unwrap();
    assert_eq!(again.encode(), known);
    assert_eq!(resource.encode_as(data[0]).len(), data.len(), "one state has one spelling in each format");

    let claims: Vec<ClaimId> =
        resource.granted().chain(resource.converting()).chain(resource.waiting()).map(|view| view.id).collect();
    for claim in claims.iter().copied().take(16) {
        let operation = OperationNumber(u32::MAX);
        let options = Options::empty();
        let commands = [
            Command::Cancel { claim, operation: None, reason: CancelReason::TimedOut },
            Command::Unlock { claim, operation, options, value: None, force: true },
            Command::Bury { session: claim.session },
            Command::Remove { claims: vec![claim, claim] },
            Command::Purge { scope: PurgeScope::All },
            Command::UnlockAll { session: claim.session, owner: None },
        ];
        for command in commands {
            let mut changed = resource.clone();
            changed.apply(&command, &context(1023), &mut Vec::new());
            changed.committed(Version(u64::MAX));
            assert!(Resource::decode(&changed.encode(), Version(78)).is_ok());
        }
    }
}

/// CRC-32C, bit by bit: the tests do not depend on the crate that the core uses.
fn checksum(data: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
    };
    !data.iter().fold(!0, step)
}

/// Bytes as commands on one resource, a few to a write. After each command the machine must agree with the naive model;
/// after each write, with its own record.
pub fn resource(data: &[u8]) {
    written(data, &mut |_| {});
}

/// The same, and shows every record that was written, without its checksum: seeds for the other target.
pub fn written(data: &[u8], show: &mut dyn FnMut(&[u8])) {
    let mut input = Input { rest: data };
    let mut resource = Resource::new();
    let mut naive = Naive::of(&resource, VALUE_BYTES);
    let mut version = 1;
    let mut index = 0;
    while !input.rest.is_empty() {
        let command = input.command(&resource);
        let mut outcomes = Vec::new();
        resource.apply(&command, &context(index), &mut outcomes);
        let expected = naive.apply_at(&command, index);
        if !repeats(&outcomes) {
            assert_eq!(plain(&outcomes), plain(&expected), "{command:?} in {naive:?}");
        }
        assert_eq!(Naive::of(&resource, VALUE_BYTES), naive, "{command:?}");
        index += 1;
        if index == 8 || input.coin() {
            let record = resource.encode();
            show(&record[..record.len() - 4]);
            resource.committed(Version(version));
            naive.committed(|index| Fence::new(Version(version), index));
            let read = Resource::decode(&record, Version(version)).unwrap();
            assert_eq!(read.encode(), resource.encode());
            resource = read;
            version += 1;
            index = 0;
        }
    }
}

fn context(index: u16) -> Context {
    Context { index, value_bytes: VALUE_BYTES, ..super::context(0) }
}

/// The model does not know what a repeat was answered first.
fn repeats(outcomes: &[Outcome]) -> bool {
    matches!(outcomes, [Outcome::Completed(completion)] if completion.repeated)
}

fn plain(outcomes: &[Outcome]) -> Vec<Outcome> {
    let plain = |outcome: &Outcome| match outcome {
        Outcome::Refused { refusal: Refusal::Invalid(_) } => Outcome::Refused { refusal: INVALID },
        other => other.clone(),
    };
    outcomes.iter().map(plain).collect()
}

/// Bytes that are read until there are none; then zeroes.
struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn coin(&mut self) -> bool {
        self.byte().is_multiple_of(2)
    }

    fn mode(&mut self) -> Mode {
        Mode::ALL[usize::from(self.byte() % 6)]
    }

    fn options(&mut self) -> Options {
        Options::from_bits_truncate(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn claim(&mut self) -> ClaimId {
        let number = self.byte() % CLAIMS;
        super::claim(u32::from(number / 2), u64::from(number))
    }

    fn label(&mut self) -> Label {
        Label::new(["", "one", "two"][usize::from(self.byte() % 3)]).unwrap()
    }

    /// Mostly the next operation of the claim; sometimes its last, or one before.
    fn operation(&mut self, claim: ClaimId, resource: &Resource) -> OperationNumber {
        let last = resource.claim(claim).map_or(0, |view| view.operation.0);
        OperationNumber(match self.byte() % 8 {
            0 => last,
            1 => last.saturating_sub(1),
            _ => last + 1,
        })
    }

    fn value(&mut self) -> Option<Bytes> {
        let length = usize::from(self.byte() % (VALUE_BYTES as u8 + 3));
        (length > 0).then(|| Bytes::from(vec![self.byte(); length - 1]))
    }

    fn deadlock(&mut self) -> Option<ConversionDeadlock> {
        match self.byte() % 4 {
            0 => Some(ConversionDeadlock::Error),
            1 => Some(ConversionDeadlock::Demote),
            2 => Some(ConversionDeadlock::Wait),
            _ => None,
        }
    }

    fn command(&mut self, resource: &Resource) -> Command {
        let kind = self.byte() % 16;
        let claim = self.claim();
        let operation = self.operation(claim, resource);
        match kind {
            0..=4 => Command::Lock(LockCommand {
                claim,
                operation,
                mode: self.mode(),
                options: self.options(),
                // Refused on new requests, so seldom.
                conversion_deadlock: self.byte().is_multiple_of(16).then_some(ConversionDeadlock::Wait),
                blocking: self.coin(),
                owner: self.label(),
                label: self.label(),
            }),
            5..=9 => Command::Convert(ConvertCommand {
                claim,
                operation,
                mode: self.mode(),
                options: self.options(),
                conversion_deadlock: self.deadlock(),
                blocking: [None, Some(true), Some(false)][usize::from(self.byte() % 3)],
                value: self.value(),
            }),
            10 => {
                let (options, value, force) = (self.options(), self.value(), self.coin());
                Command::Unlock { claim, operation, options, value, force }
            }
            11 => Command::Cancel {
                claim,
                operation: self.coin().then_some(operation),
                reason: [CancelReason::Cancelled, CancelReason::TimedOut][usize::from(self.byte() % 2)],
            },
            12 => Command::Bury { session: claim.session },
            13 => Command::Adopt {
                claim,
                operation,
                mode: self.mode(),
                options: self.options() & (Options::VALUE_BLOCK | Options::PERSISTENT | Options::TRY),
                blocking: self.coin(),
                owner: self.label(),
                label: self.label(),
            },
            14 => Command::UnlockAll { session: claim.session, owner: self.coin().then(|| self.label()) },
            _ => match self.byte() % 5 {
                0 => Command::Purge { scope: PurgeScope::All },
                1 => Command::Purge { scope: PurgeScope::Session(claim.session) },
                2 => Command::Purge { scope: PurgeScope::Owner(self.label()) },
                3 => Command::Purge { scope: PurgeScope::Claim(claim) },
                _ => Command::Remove { claims: vec![claim] },
            },
        }
    }
}
