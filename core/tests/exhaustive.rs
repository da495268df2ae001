//! Exhaustive small worlds: three claims on one resource, every command in every state.
//!
//! Each world turns on a part of the rules, small enough to visit all of it; the last one turns on everything and visits
//! as many states as it has time for. What is checked after every step is in `support/explore.rs`.

// What an exploration saw is worth a line when the test is read with --nocapture.
#![allow(clippy::print_stdout)]

mod support;

use sixpin_core::command::{ConversionDeadlock, Options};
use sixpin_core::mode::Mode;

use support::explore::World;

const NONE: Options = Options::empty();
const TRY: Options = Options::TRY;
const QUEUE: Options = Options::QUEUE_CONVERSION;
const HEAD: Options = Options::HEAD_OF_QUEUE;
const FREE: Options = Options::NO_ORDER;
const VALUE: Options = Options::VALUE_BLOCK;
const KEEP: Options = Options::PERSISTENT;
const BOTH: Options = Options::ALTERNATE_PR.union(Options::ALTERNATE_CW);
const DEADLOCKS: [Option<ConversionDeadlock>; 3] =
    [None, Some(ConversionDeadlock::Demote), Some(ConversionDeadlock::Wait)];

#[test]
fn all_modes_without_options() {
    let seen = World { convert: vec![NONE, TRY], lock: vec![NONE, TRY], ..World::default() }.explore();
    println!("{seen:?}");
    assert!(seen.deadlocks > 0);
}

#[test]
fn queue_order_and_deadlocks() {
    let world = World {
        lock: vec![NONE, HEAD, FREE, Options::EXPEDITE],
        convert: vec![NONE, QUEUE, HEAD, FREE],
        ..World::default()
    };
    println!("{:?}", world.explore());
    let modes = vec![Mode::NL, Mode::CW, Mode::PR, Mode::EX];
    let deadlock = vec![None, Some(ConversionDeadlock::Demote)];
    println!("{:?}", World { modes: modes.clone(), deadlock, ..world.clone() }.explore());
    let seen = World { deadlock: DEADLOCKS.to_vec(), modes, ..world }.explore();
    println!("{seen:?}");
    assert!(seen.demotions > 0);
}

#[test]
fn alternate_modes() {
    let alternates = [NONE, Options::ALTERNATE_PR, Options::ALTERNATE_CW, BOTH];
    let world = World {
        lock: alternates.to_vec(),
        convert: vec![NONE, Options::ALTERNATE_PR, Options::ALTERNATE_CW, BOTH, BOTH | TRY],
        ..World::default()
    };
    println!("{:?}", world.explore());
    let deadlock = vec![None, Some(ConversionDeadlock::Wait)];
    let modes = vec![Mode::CR, Mode::CW, Mode::PR, Mode::EX];
    let seen = World { modes, deadlock, ..world }.explore();
    println!("{seen:?}");
    assert!(seen.grants > 0);
}

#[test]
fn blocking_notifications() {
    let world = World {
        modes: vec![Mode::CR, Mode::CW, Mode::PR, Mode::EX],
        lock: vec![NONE, FREE, TRY | Options::NOTIFY_ON_REFUSAL],
        blocking: vec![true, false],
        convert: vec![NONE, TRY | Options::NOTIFY_ON_REFUSAL],
        deadlock: vec![None, Some(ConversionDeadlock::Wait)],
        convert_blocking: vec![None, Some(false)],
        ..World::default()
    };
    let seen = world.explore();
    println!("{seen:?}");
    assert!(seen.notifications > 0);
}

#[test]
fn value_blocks() {
    let world = World {
        lock: vec![NONE, VALUE],
        convert: vec![NONE, VALUE, Options::INVALIDATE_VALUE, VALUE | Options::INVALIDATE_VALUE],
        unlock: vec![NONE, VALUE, Options::INVALIDATE_VALUE, VALUE | Options::INVALIDATE_VALUE],
        ..World::default()
    };
    let seen = world.explore();
    println!("{seen:?}");
    assert!(seen.grants > 0);
}

#[test]
fn ends_of_sessions_orphans_and_force() {
    let world = World {
        sessions: vec![1, 2, 2],
        modes: vec![Mode::NL, Mode::PR, Mode::EX],
        lock: vec![NONE, KEEP, VALUE],
        blocking: vec![true],
        convert: vec![NONE, KEEP, VALUE],
        adopt: vec![NONE, KEEP | VALUE],
        force: true,
        ..World::default()
    };
    let seen = world.explore();
    println!("{seen:?}");
    assert!(seen.orphans > 0);
}

#[test]
fn everything_at_once_in_three_sessions() {
    everything_at_once(vec![1, 2, 3], 30_000);
}

#[test]
fn everything_at_once_in_two_sessions() {
    everything_at_once(vec![1, 2, 2], 30_000);
}

#[test]
#[ignore = "takes a minute; for a change of the rules, and for every release"]
fn a_million_states() {
    everything_at_once(vec![1, 2, 2], 1_000_000);
}

/// Too many states to visit all: so many of them, with some of the commands in each.
fn everything_at_once(sessions: Vec<u32>, states_max: usize) {
    let world = World {
        sessions,
        lock: vec![
            NONE,
            VALUE | KEEP,
            HEAD | BOTH,
            FREE | VALUE,
            HEAD | FREE | Options::ALTERNATE_CW,
            Options::EXPEDITE,
            TRY | Options::NOTIFY_ON_REFUSAL,
        ],
        blocking: vec![true, false],
        convert: vec![
            NONE,
            VALUE,
            QUEUE,
            HEAD,
            FREE | BOTH,
            HEAD | VALUE | Options::ALTERNATE_PR,
            TRY | KEEP,
            TRY | Options::NOTIFY_ON_REFUSAL,
        ],
        deadlock: DEADLOCKS.to_vec(),
        convert_blocking: vec![None, Some(true)],
        unlock: vec![NONE, VALUE, Options::INVALIDATE_VALUE],
        adopt: vec![NONE, VALUE],
        force: true,
        states_max,
        sample: Some(16),
        ..World::default()
    };
    let seen = world.explore();
    println!("{seen:?}");
    assert!(seen.states >= states_max);
}
