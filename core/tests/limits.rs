//! Limits of one resource, at the limit and one above (A7, checklist 41).

// A test may panic.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use sixpin_core::command::{Command, ConvertCommand, LockCommand, Options, Outcome, Refusal};
use sixpin_core::format::{NEWEST, OLDEST};
use sixpin_core::limits::{LABEL_BYTES_MAX, VALUE_BLOCK_BYTES_MAX};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimId, Label, OperationNumber, Version};
use sixpin_core::record::RecordError;
use sixpin_core::resource::{Context, Resource};

fn lock(claim: ClaimId, mode: Mode) -> Command {
    let text = "x".repeat(LABEL_BYTES_MAX);
    Command::Lock(LockCommand {
        claim,
        operation: OperationNumber(1),
        mode,
        options: Options::PERSISTENT | Options::VALUE_BLOCK,
        conversion_deadlock: None,
        blocking: true,
        owner: Label::new(&text).unwrap(),
        label: Label::new(&text).unwrap(),
    })
}

fn convert(claim: ClaimId, operation: u32, mode: Mode, value: Option<Bytes>) -> Command {
    Command::Convert(ConvertCommand {
        claim,
        operation: OperationNumber(operation),
        mode,
        options: Options::VALUE_BLOCK,
        conversion_deadlock: None,
        blocking: None,
        value,
    })
}

fn apply(resource: &mut Resource, command: &Command, context: &Context) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    resource.apply(command, context, &mut outcomes);
    outcomes
}

/// A limit refuses, and names itself.
fn limited(outcomes: &[Outcome]) -> bool {
    matches!(outcomes, [Outcome::Refused { refusal: Refusal::Limit(_) }])
}

#[test]
fn queued_claims_at_the_limit_and_one_above() {
    let context = Context { queued_max: 1_000, ..support::context(0) };
    let mut resource = Resource::new();
    for number in 1..=1_001 {
        assert!(!limited(&apply(&mut resource, &lock(support::claim(1, number), Mode::EX), &context)));
    }
    assert_eq!(resource.queued_len(), 1_000);
    let before = resource.encode();
    assert!(limited(&apply(&mut resource, &lock(support::claim(1, 1_002), Mode::EX), &context)));
    assert_eq!(resource.encode(), before, "a refusal changes nothing");
}

#[test]
fn a_record_never_outgrows_its_limit_whatever_its_claims_do() {
    let limit = 20_000;
    let context = Context { record_bytes_max: limit, value_bytes: VALUE_BLOCK_BYTES_MAX, ..support::context(0) };
    let mut resource = Resource::new();
    let mut claims = Vec::new();
    for number in 1.. {
        // Numbers as large as they get, and every claim in a session of its own.
        let claim = support::claim(number, u64::MAX);
        if limited(&apply(&mut resource, &lock(claim, Mode::NL), &context)) {
            break;
        }
        claims.push(claim);
    }
    assert!(claims.len() > 50);
    assert!(resource.encoded_len_max() <= limit);
    assert!(resource.encoded_len_max() > limit - 400, "the last claim that fits was taken");

    // Nothing that claims do later is refused for size, and nothing makes the record too large.
    let largest = Bytes::from(vec![0xff; VALUE_BLOCK_BYTES_MAX]);
    let version = Version((1 << 53) - 1);
    for (index, claim) in claims.iter().enumerate() {
        let mode = if index == 0 { Mode::EX } else { Mode::PW };
        assert!(!limited(&apply(&mut resource, &convert(*claim, u32::MAX - 3, mode, None), &context)));
        resource.committed(version);
    }
    assert!(!limited(&apply(&mut resource, &convert(claims[0], u32::MAX, Mode::EX, Some(largest)), &context)));
    resource.committed(version);
    assert_eq!(resource.queued_len(), claims.len() - 1);
    assert!(resource.encode().len() <= resource.encoded_len_max());
    assert!(resource.encode().len() <= limit);
    let read = Resource::decode(&resource.encode(), version).unwrap();
    assert_eq!(read.encode(), resource.encode());
}

#[test]
fn commands_of_one_write_at_the_limit_and_one_above() {
    let mut resource = Resource::new();
    assert!(!limited(&apply(&mut resource, &lock(support::claim(1, 1), Mode::NL), &support::context(1023))));
    assert!(limited(&apply(&mut resource, &lock(support::claim(1, 2), Mode::NL), &support::context(1024))));
    resource.committed(Version(5));
    let fence = resource.claim(support::claim(1, 1)).unwrap().fence.unwrap();
    assert_eq!(fence.resolve(Version(0)).0, 5 * 1024 + 1023);
}

#[test]
fn a_version_that_no_store_reaches_is_no_reason_to_panic() {
    let mut resource = Resource::new();
    apply(&mut resource, &lock(support::claim(1, 1), Mode::EX), &support::context(0));
    assert!(Resource::decode(&resource.encode(), Version(u64::MAX)).is_err());
    resource.committed(Version(u64::MAX));
    assert!(Resource::decode(&resource.encode(), Version(1)).is_ok());
}

#[test]
fn a_record_of_another_format_or_a_damaged_one_is_not_read() {
    let mut resource = Resource::new();
    apply(&mut resource, &lock(support::claim(1, 1), Mode::EX), &support::context(0));
    let record = resource.encode().to_vec();
    let mut newer = record.clone();
    newer[0] = NEWEST + 1;
    assert_eq!(Resource::decode(&newer, Version(1)).unwrap_err(), RecordError::Checksum, "that is damage");
    let checksum = newer.len() - 4;
    let sum = crc32c::crc32c(&newer[..checksum]);
    newer[checksum..].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(Resource::decode(&newer, Version(1)).unwrap_err(), RecordError::Format(NEWEST + 1));
    assert_eq!(Resource::decode_up_to(OLDEST, &record, Version(1)).unwrap_err(), RecordError::Format(NEWEST));
    let older = resource.encode_as(OLDEST);
    let read = Resource::decode_up_to(OLDEST, &older, Version(1)).unwrap();
    assert_eq!(read.encode(), Resource::decode(&record, Version(1)).unwrap().encode());
    assert_eq!(older.len() + 1, record.len());
    let mut damaged = record.clone();
    damaged[5] ^= 1;
    let error = Resource::decode(&damaged, Version(1)).unwrap_err().to_string();
    assert_eq!(error, "the record's checksum does not match: it is damaged");
    assert!(Resource::decode(&[], Version(1)).is_err());
}
