//! What a step costs, counted in claims that it looks at. Time is never a test; this is.

use std::cell::Cell;

use crate::command::{CancelReason, Command, ConvertCommand, LockCommand, Options, Outcome};
use crate::mode::Mode;
use crate::name::{ClaimId, ClaimNumber, Incarnation, Label, OperationNumber, SessionId, Version};

use super::{Context, Resource};

thread_local! {
    static VISITS: Cell<u64> = const { Cell::new(0) };
}

/// Called for each claim that is looked at.
pub(super) fn visit() {
    VISITS.with(|visits| visits.set(visits.get() + 1));
}

fn claim(number: u64) -> ClaimId {
    let session = SessionId { opener: Incarnation(1), serial: (number % 7) as u32, ttl_ms: 1000 };
    ClaimId { session, number: ClaimNumber(number) }
}

fn lock(number: u64, mode: Mode, options: Options) -> Command {
    Command::Lock(LockCommand {
        claim: claim(number),
        operation: OperationNumber(1),
        mode,
        options,
        conversion_deadlock: None,
        blocking: true,
        owner: Label::default(),
        label: Label::default(),
    })
}

fn convert(number: u64, operation: u32, mode: Mode, options: Options) -> Command {
    Command::Convert(ConvertCommand {
        claim: claim(number),
        operation: OperationNumber(operation),
        mode,
        options,
        conversion_deadlock: None,
        blocking: None,
        value: None,
    })
}

fn release(number: u64) -> Command {
    let (claim, operation) = (claim(number), OperationNumber(100));
    Command::Unlock { claim, operation, options: Options::empty(), value: None, force: false }
}

fn cancel(number: u64) -> Command {
    Command::Cancel { claim: claim(number), operation: None, reason: CancelReason::TimedOut }
}

/// Takes the steps after `many` times the crowd, and counts the claims that they look at.
fn visits(crowd: &dyn Fn(u64) -> Command, many: u64, steps: &[Command]) -> u64 {
    let context =
        Context { index: 0, wall_ms: 0, value_bytes: 32, queued_max: usize::MAX, record_bytes_max: usize::MAX };
    let mut resource = Resource::new();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for number in 1..=many {
        resource.apply(&crowd(number + 100), &context, &mut outcomes);
        resource.committed(Version(number));
    }
    VISITS.with(|visits| visits.set(0));
    for step in steps {
        outcomes.clear();
        resource.apply(step, &context, &mut outcomes);
        assert!(!matches!(outcomes[..], [Outcome::Refused { .. }]), "{step:?} was refused");
        resource.committed(Version(many + 1));
    }
    VISITS.with(Cell::get)
}

/// The steps look at as many claims in a crowd of ten as in one of ten thousand.
fn assert_constant(crowd: impl Fn(u64) -> Command, steps: &[Command]) {
    let few = visits(&crowd, 20, steps);
    let many = visits(&crowd, 10_000, steps);
    assert!(many <= few, "{few} claims looked at in a small crowd, {many} in a large one");
}

const NONE: Options = Options::empty();

#[test]
fn a_long_wait_queue_costs_nothing() {
    let steps = [
        lock(50, Mode::EX, NONE),
        lock(51, Mode::CR, Options::TRY | Options::NOTIFY_ON_REFUSAL),
        lock(52, Mode::NL, Options::EXPEDITE),
        convert(52, 2, Mode::CR, NONE),
        lock(50, Mode::EX, NONE),
        release(101),
        convert(52, 3, Mode::NL, NONE),
        release(102),
        cancel(105),
        cancel(50),
    ];
    assert_constant(|number| lock(number, Mode::EX, NONE), &steps);
}

#[test]
fn very_many_holders_cost_nothing() {
    let steps = [
        lock(50, Mode::CR, NONE),
        lock(51, Mode::EX, Options::TRY),
        convert(50, 2, Mode::PW, NONE),
        convert(50, 3, Mode::CR, NONE),
        release(101),
    ];
    assert_constant(|number| lock(number, Mode::CR, NONE), &steps);
}

#[test]
fn very_many_unordered_waiters_cost_nothing() {
    let crowd = |number| match number {
        101 => lock(number, Mode::PR, NONE),
        _ if number % 2 == 0 => lock(number, Mode::EX, Options::NO_ORDER),
        _ => lock(number, Mode::PW, Options::NO_ORDER | Options::ALTERNATE_CW),
    };
    let steps = [lock(50, Mode::CW, Options::NO_ORDER), lock(51, Mode::CR, NONE), cancel(50), cancel(104)];
    assert_constant(crowd, &steps);
}

#[test]
fn very_many_converters_cost_nothing() {
    // One holder in PR; everybody else holds NL and waits for EX.
    let context =
        Context { index: 0, wall_ms: 0, value_bytes: 32, queued_max: usize::MAX, record_bytes_max: usize::MAX };
    let count = |many: u64| {
        let mut resource = Resource::new();
        let mut outcomes = Vec::new();
        resource.apply(&lock(1, Mode::PR, NONE), &context, &mut outcomes);
        for number in 100..100 + many {
            resource.apply(&lock(number, Mode::NL, Options::EXPEDITE), &context, &mut outcomes);
            resource.apply(&convert(number, 2, Mode::EX, NONE), &context, &mut outcomes);
            resource.committed(Version(number));
        }
        assert_eq!(resource.queued_len() as u64, many);
        VISITS.with(|visits| visits.set(0));
        for step in [
            convert(1, 2, Mode::EX, NONE),
            convert(1, 3, Mode::EX, Options::TRY | Options::NOTIFY_ON_REFUSAL),
            lock(50, Mode::CR, NONE),
            cancel(103),
            convert(1, 4, Mode::NL, NONE),
            release(100),
        ] {
            resource.apply(&step, &context, &mut outcomes);
        }
        VISITS.with(Cell::get)
    };
    assert_eq!(count(20), count(10_000));
}
