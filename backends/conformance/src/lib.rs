//! The contract of a store, as tests.
//!
//! Each behaviour is one async function that takes a [`Fixture`]: a fresh, empty namespace of a real store. A backend
//! joins by writing a fixture and naming it, with the groups of trouble that it can be put into:
//!
//! ```text
//! async fn fixture(group: Group) -> RedisFixture { … }
//!
//! sixpin_conformance::conformance_tests!(fixture: contract, links, restarts, freezes, refusals, hints, wipes);
//! ```
//!
//! That expands to one test per behaviour, and to one more which checks that the groups named are exactly those that the
//! fixture can do: what a fixture declares is exercised, and what is not exercised shows in the list.
//!
//! # Layout
//!
//! * [`fixture`]: what a backend brings; the troubles as small traits;
//! * [`list`]: the list of all behaviours, by group;
//! * [`runner`]: runs one behaviour in a runtime of its own, with a deadline;
//! * [`broker`]: a minimal broker, for the behaviours: registered, with one lane;
//! * [`contract`]: what every store does on a good day;
//! * [`trouble`]: what it does when links, servers and hints fail;
//! * [`workload`]: loads that notice a lost, doubled or late write.

pub mod broker;
pub mod contract;
pub mod fixture;
pub mod list;
pub mod runner;
pub mod trouble;
pub mod workload;

pub use fixture::{Fixture, FixtureFuture, Freezes, Group, Hints, Link, Network, Refusals, Restarts, Wipes};
pub use list::{Behaviour, behaviours, run};
