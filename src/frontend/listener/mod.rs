//! Sockets and connections.
//!
//! An accept loop of our own, because what a server framework offers either ignores `TCP_NODELAY`, spins when the
//! process runs out of descriptors, or sets no limit on connections that stay silent.
//!
//! # Layout, in reading order
//!
//! * [`gate`]: how many connections there may be, in all and of one client; [`share`]: what else a client has a share of;
//! * [`accept`]: the accept loop;
//! * [`connection`]: one HTTP/2 connection, from its first byte to its end;
//! * `frames`: what a peer sends, counted; `unread`: what it does not read, counted;
//! * `door`: where requests come in; `timely`: those that do not arrive whole; `answer`: what goes out;
//! * [`descriptors`]: how many files the process may open.

pub mod accept;
pub mod connection;
pub mod descriptors;
pub mod gate;
pub mod share;
mod answer;
mod door;
mod frames;
mod timely;
mod unread;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;

pub(crate) use door::OpeningPlace;
use gate::Gate;

/// Serves `routes` on a socket until `stop` says so; then tells all connections to go and waits a moment for them.
pub async fn serve(socket: TcpListener, routes: Routes, gate: Arc<Gate>, stop: watch::Receiver<bool>) {
    let routes = routes.prepare();
    accept::run(&socket, &gate, stop.clone(), |stream, pass| {
        tokio::spawn(connection::serve(stream, routes.clone(), pass, stop.clone()));
    })
    .await;
    drop(socket);
    gate.empty(connection::FAREWELL).await;
}
