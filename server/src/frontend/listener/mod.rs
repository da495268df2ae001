//! Sockets and connections.
//!
//! An accept loop of our own, because what a server framework offers either ignores `TCP_NODELAY`, spins when the
//! process runs out of descriptors, or sets no limit on connections that stay silent.
//!
//! # Layout, in reading order
//!
//! * [`gate`]: how many connections there may be, in all and of one client; [`share`]: what else a client has a share of;
//! * [`accept`]: the accept loop;
//! * [`connection`]: one connection, from its beginning to its end;
//! * `beginning`: TLS or not, and what is spoken; `transport`: what carries it; `http`, `greeted`: what it may speak;
//! * `counting`: what a peer sends, counted; `unread`: what it does not read, counted;
//! * `protocol`: what it has to know of what is spoken on a connection;
//! * `admission`: where requests come in; `timely`: those that do not arrive whole; `answer`: what goes out;
//! * `complaint`: what others can cause, logged once in a while; [`descriptors`]: how many files the process may open.

pub mod accept;
pub mod connection;
pub mod descriptors;
pub mod gate;
pub mod share;
mod admission;
mod answer;
mod beginning;
mod complaint;
pub(crate) mod cookie;
mod counting;
mod greeted;
mod http;
mod protocol;
mod timely;
mod transport;
mod unread;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) use admission::{Encrypted, OpeningPlace, Upgraded, Visiting};
use beginning::Beginning;
pub(crate) use beginning::Shown;
pub(crate) use connection::FAREWELL;
use gate::Gate;
pub(crate) use greeted::{Admitted, Socket};
pub(crate) use protocol::Greeted;
pub use protocol::{Dialect, Kind, Protocol, What};

use crate::tls::Tls;

/// Serves a protocol on a socket until `stop` says so; then tells all connections to go and waits a moment for them.
pub async fn serve(
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
    protocol: Protocol,
    gate: Arc<Gate>,
    stop: watch::Receiver<bool>,
) {
    let beginning = Arc::new(Beginning::new(tls, protocol.greeted.clone()));
    accept::run(&socket, &gate, stop.clone(), |stream, pass| {
        tokio::spawn(connection::serve(stream, protocol.clone(), beginning.clone(), pass, stop.clone()));
    })
    .await;
    drop(socket);
    gate.empty(connection::FAREWELL).await;
}
