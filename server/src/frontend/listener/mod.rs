//! Sockets and connections.
//!
//! An accept loop of our own, because what a server framework offers either ignores `TCP_NODELAY`, spins when the
//! process runs out of descriptors, or sets no limit on connections that stay silent.
//!
//! # Layout, in reading order
//!
//! * [`gate`]: how many connections there may be, in all and of one client; [`share`]: what else a client has a share of;
//! * [`accept`]: the accept loop;
//! * [`connection`]: one connection, from its first byte to its end; `http2`, `greeted`: what it may speak;
//! * `counting`: what a peer sends, counted; `unread`: what it does not read, counted;
//! * `protocol`: what it has to know of what is spoken on a connection;
//! * `admission`: where requests come in; `timely`: those that do not arrive whole; `answer`: what goes out;
//! * [`descriptors`]: how many files the process may open.

pub mod accept;
pub mod connection;
pub mod descriptors;
pub mod gate;
pub mod share;
mod admission;
mod answer;
mod counting;
mod greeted;
mod http2;
mod protocol;
mod timely;
mod unread;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) use admission::OpeningPlace;
pub(crate) use connection::FAREWELL;
use gate::Gate;
pub(crate) use greeted::{Admitted, Socket};
pub(crate) use protocol::Greeted;
pub use protocol::{Kind, Protocol, What};

/// Serves a protocol on a socket until `stop` says so; then tells all connections to go and waits a moment for them.
pub async fn serve(socket: TcpListener, protocol: Protocol, gate: Arc<Gate>, stop: watch::Receiver<bool>) {
    accept::run(&socket, &gate, stop.clone(), |stream, pass| {
        tokio::spawn(connection::serve(stream, protocol.clone(), pass, stop.clone()));
    })
    .await;
    drop(socket);
    gate.empty(connection::FAREWELL).await;
}
