//! What a step costs on a resource with very many claims, compared with one that has few.
//!
//! ```text
//! cargo run --release -p sixpin-core --example queue_cost
//! ```
//!
//! Each line is one kind of step, repeated so that the number of claims stays what it is. The ratio of the last column
//! to the first should stay small: a step must not walk along a queue. The last lines are the exception that every write
//! pays: the record is encoded whole, so they are given per claim.

// An example measures and prints, which the core itself never does.
#![allow(clippy::disallowed_types, clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::hint::black_box;
use std::time::Instant;

use sixpin_core::command::{CancelReason, Command, ConvertCommand, LockCommand, Options, Outcome};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimId, ClaimNumber, Incarnation, Label, OperationNumber, SessionId, Version};
use sixpin_core::resource::{Context, Resource};

const SIZES: [u64; 3] = [10, 1_000, 100_000];
const STEPS: u64 = 200;
const ROUNDS: u64 = 301;
const SESSIONS: u64 = 50;

/// A resource, and the claim that the next step is about.
struct Scene {
    resource: Resource,
    outcomes: Vec<Outcome>,
    version: u64,
    oldest: u64,
    newest: u64,
}

impl Scene {
    fn new() -> Self {
        Self { resource: Resource::new(), outcomes: Vec::new(), version: 0, oldest: 1, newest: 0 }
    }

    fn step(&mut self, command: &Command) {
        let context = Context {
            index: 0,
            wall_ms: 1_700_000_000_000,
            value_bytes: 32,
            queued_max: usize::MAX,
            record_bytes_max: usize::MAX,
        };
        self.version += 1;
        self.outcomes.clear();
        black_box(self.resource.apply(command, &context, &mut self.outcomes));
        self.resource.committed(Version(self.version));
    }

    fn lock(&mut self, mode: Mode, options: Options) {
        self.newest += 1;
        self.step(&lock(self.newest, mode, options));
    }

    fn release_oldest(&mut self) {
        self.step(&release(self.oldest));
        self.oldest += 1;
    }
}

fn claim(number: u64) -> ClaimId {
    let serial = (number % SESSIONS) as u32;
    let session = SessionId { opener: Incarnation(7), serial, ttl_ms: 10_000 };
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

fn convert(number: u64, operation: u32, mode: Mode) -> Command {
    Command::Convert(ConvertCommand {
        claim: claim(number),
        operation: OperationNumber(operation),
        mode,
        options: Options::empty(),
        conversion_deadlock: None,
        blocking: None,
        value: None,
    })
}

fn release(number: u64) -> Command {
    let (claim, operation) = (claim(number), OperationNumber(u32::MAX));
    Command::Unlock { claim, operation, options: Options::empty(), value: None, force: false }
}

/// One holder in EX, and `size` waiters.
fn hot(size: u64, options: Options) -> Scene {
    let mut scene = Scene::new();
    for _ in 0..=size {
        scene.lock(Mode::EX, options);
    }
    scene
}

/// `size` holders in CR.
fn shared(size: u64) -> Scene {
    let mut scene = Scene::new();
    for _ in 0..size {
        scene.lock(Mode::CR, Options::empty());
    }
    scene
}

/// Nanoseconds of one step: the median of many short rounds, most of which a busy machine does not interrupt.
fn measure(scene: &mut Scene, mut step: impl FnMut(&mut Scene, u64)) -> f64 {
    let round = |round: u64| {
        let start = Instant::now();
        for index in 0..STEPS {
            step(scene, round * STEPS + index);
        }
        start.elapsed().as_nanos() as f64 / STEPS as f64
    };
    median((0..ROUNDS).map(round).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A kind of step: its name, and how to measure it at one size.
type Kind = (&'static str, fn(u64) -> f64);

const KINDS: &[Kind] = &[
    ("release, grant the head, queue one more", |size| {
        measure(&mut hot(size, Options::empty()), |scene, _| {
            scene.release_oldest();
            scene.lock(Mode::EX, Options::empty());
        })
    }),
    ("the same, all waiters NOORDER", |size| {
        measure(&mut hot(size, Options::NO_ORDER), |scene, _| {
            scene.release_oldest();
            scene.lock(Mode::EX, Options::NO_ORDER);
        })
    }),
    ("queue one more, cancel it", |size| {
        measure(&mut hot(size, Options::empty()), |scene, _| {
            scene.lock(Mode::EX, Options::empty());
            let cancel =
                Command::Cancel { claim: claim(scene.newest), operation: None, reason: CancelReason::TimedOut };
            scene.step(&cancel);
        })
    }),
    ("repeat a request from the middle of the queue", |size| {
        measure(&mut hot(size, Options::empty()), |scene, _| {
            scene.step(&lock(2 + scene.newest / 2, Mode::EX, Options::empty()));
        })
    }),
    ("a refused try that notifies", |size| {
        measure(&mut hot(size, Options::empty()), |scene, index| {
            scene.step(&lock(1 << 40 | index, Mode::EX, Options::TRY | Options::NOTIFY_ON_REFUSAL));
        })
    }),
    ("a conversion in place ahead of waiters", |size| {
        measure(&mut hot(size, Options::empty()), |scene, index| {
            let mode = if index % 2 == 0 { Mode::PW } else { Mode::EX };
            scene.step(&convert(1, 2 + index as u32, mode));
        })
    }),
    ("one more holder in CR, release another", |size| {
        measure(&mut shared(size), |scene, _| {
            scene.lock(Mode::CR, Options::empty());
            scene.release_oldest();
        })
    }),
];

/// The most common life of all: nobody else, lock, release. A new resource each time, or the same one again.
fn alone() {
    let mut scene = Scene::new();
    let fresh = measure(&mut scene, |scene, _| {
        scene.resource = Resource::new();
        scene.lock(Mode::EX, Options::empty());
        black_box(scene.resource.encode());
    });
    let mut scene = Scene::new();
    let again = measure(&mut scene, |scene, _| {
        scene.lock(Mode::EX, Options::empty());
        black_box(scene.resource.encode());
        scene.release_oldest();
    });
    println!(
        "alone: {fresh:.0} ns to lock a new resource and encode it, {again:.0} ns to lock, encode and release a known one"
    );
}

fn main() {
    alone();
    println!("{} bytes of a resource without claims", size_of::<Resource>());
    println!();
    println!(
        "{:46} {:>9} {:>9} {:>9} {:>7}",
        "nanoseconds a step, with claims:", SIZES[0], SIZES[1], SIZES[2], "ratio"
    );
    for (name, kind) in KINDS {
        let [few, some, many] = SIZES.map(kind);
        println!("{name:46} {few:9.0} {some:9.0} {many:9.0} {:7.2}", many / few);
    }
    println!();
    for size in SIZES {
        let scene = hot(size, Options::empty());
        let record = scene.resource.encode();
        let rounds = (1_000_000 / (size + 10)).clamp(5, 10_000);
        let time = |work: &dyn Fn()| {
            let round = |_| {
                let start = Instant::now();
                work();
                start.elapsed().as_nanos() as f64
            };
            median((0..rounds).map(round).collect())
        };
        let encode = time(&|| drop(black_box(scene.resource.encode())));
        let decode = time(&|| drop(black_box(Resource::decode(&record, Version(scene.version)).unwrap())));
        let claims = (size + 1) as f64;
        println!(
            "record of {size:6} waiters: {:5.1} bytes a claim; encode {:7.1} µs, {:4.0} ns a claim; decode {:8.1} µs, {:4.0} ns a claim",
            record.len() as f64 / claims,
            encode / 1000.0,
            encode / claims,
            decode / 1000.0,
            decode / claims,
        );
    }
}
