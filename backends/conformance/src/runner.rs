//! Runs one behaviour: a runtime of its own, a fixture of its own, a deadline.

use std::future::Future;
use std::time::Duration;

use crate::broker::{patience, set_patience};
use crate::fixture::{Fixture, Group};
use crate::list::Behaviour;

/// No behaviour takes this long unless something hangs. Generous, because test machines are busy.
const DEADLINE: Duration = Duration::from_secs(240);

/// Runs one behaviour on a fresh fixture. The generated tests call this.
pub fn run_test<X, F>(group: Group, fixture: impl FnOnce(Group) -> F, behaviour: Behaviour)
where
    X: Fixture,
    F: Future<Output = X>,
{
    run_test_within(patience(), group, fixture, behaviour);
}

/// The same with another [`patience`]: for tests of the suite itself, in which things do not happen on purpose.
pub fn run_test_within<X, F>(patience: Duration, group: Group, fixture: impl FnOnce(Group) -> F, behaviour: Behaviour)
where
    X: Fixture,
    F: Future<Output = X>,
{
    block_on(patience, async {
        let fixture = fixture(group).await;
        let in_time = tokio::time::timeout(DEADLINE, (behaviour.run)(&fixture)).await;
        assert!(in_time.is_ok(), "{} did not end within {DEADLINE:?}", behaviour.name);
    });
}

/// Checks that the groups named to the macro are exactly those that the fixture declares.
pub fn check_groups<X, F>(named: &[Group], fixture: impl Fn(Group) -> F)
where
    X: Fixture,
    F: Future<Output = X>,
{
    block_on(patience(), async {
        for group in Group::ALL {
            let fixture = fixture(group).await;
            let declared = match group {
                Group::Contract => true,
                Group::Links => fixture.link().is_some(),
                Group::Restarts => fixture.restarts().is_some(),
                Group::Freezes => fixture.freezes().is_some(),
                Group::Refusals => fixture.refusals().is_some(),
                Group::Hints => fixture.hints().is_some(),
                Group::Wipes => fixture.wipes().is_some(),
            };
            let is_named = named.contains(&group);
            assert_eq!(
                declared, is_named,
                "{group:?}: declared by the fixture and named to the macro must be the same"
            );
        }
    });
}

fn block_on<T>(patience: Duration, future: impl Future<Output = T>) -> T {
    // Several threads, so that races are real. Each knows how patient this test is.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().on_thread_start(move || set_patience(patience)).build();
    set_patience(patience);
    runtime.expect("a runtime can be built").block_on(future)
}
