//! The contract, on the server's default settings.

use sixpin_conformance::{Group, conformance_tests};

use crate::support::Nats;

async fn fixture(_: Group) -> Nats {
    Nats::start().await
}

conformance_tests!(fixture: contract, links, restarts, freezes, refusals, hints, wipes);
