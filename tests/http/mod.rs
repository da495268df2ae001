//! The HTTP door.

mod access;
mod leases;
mod protocol;
mod script;
mod sessions;
mod watch;
mod websocket;

use crate::support::Broker;
use crate::support::http::Http;

/// A broker, and one who asks it. The door has sockets only.
async fn broker() -> (Broker, Http) {
    let broker = Broker::start().await;
    broker.use_sockets();
    let http = Http::clients_of(&broker);
    (broker, http)
}
