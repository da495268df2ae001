//! Sockets and connections.
//!
//! An accept loop of our own, because what a server framework offers either ignores `TCP_NODELAY`, spins when the
//! process runs out of descriptors, or sets no limit on connections that stay silent.
//!
//! # Layout, in reading order
//!
//! * [`gate`]: how many connections there may be, in all and from one address;
//! * [`accept`]: the accept loop;
//! * [`connection`]: one HTTP/2 connection, from its first byte to its end; `timely`: requests that do not arrive whole;
//! * [`descriptors`]: how many files the process may open.

pub mod accept;
pub mod connection;
pub mod descriptors;
pub mod gate;
mod timely;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;

use gate::Gate;

/// Serves `routes` on a socket until `stop` says so; then tells all connections to go and waits a moment for them.
pub async fn serve(socket: TcpListener, routes: Routes, gate: Arc<Gate>, stop: watch::Receiver<bool>) {
    let routes = routes.prepare();
    accept::run(&socket, &gate, stop.clone(), |stream, pass| {
        let connection = connection::serve(stream, routes.clone(), stop.clone());
        tokio::spawn(async move {
            connection.await;
            drop(pass);
        });
    })
    .await;
    drop(socket);
    gate.empty(connection::FAREWELL).await;
}
