//! A store on the network that needs nothing installed: the memory store's state machine behind a socket.
//!
//! It exists so that several broker processes can share a store that a test may kill, freeze and wipe. It is as durable
//! as a killed process needs: every request that changes something is in the journal before it is answered, and because
//! the state machine is deterministic, replaying the journal brings everything back.
//!
//! # Layout
//!
//! * [`message`]: what is asked and answered, and as which bytes;
//! * [`wire`]: the contract's words in the form in which they travel;
//! * [`frame`]: messages on a stream of bytes;
//! * [`journal`]: what survives a kill;
//! * [`server`]: the process;
//! * [`backend`]: a broker's side of the connection.

pub mod message;
pub mod wire;
pub mod frame;
pub mod journal;
pub mod server;
pub mod backend;

/// The scheme of this store's URLs: `net://host:port`.
pub const SCHEME: &str = "net";
