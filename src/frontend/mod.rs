//! Front ends: how clients reach the engines. They know the runtime's handles and the words of the core, never a
//! backend.
//!
//! # Layout
//!
//! * [`client`]: who a request comes from;
//! * [`listener`]: sockets and connections, for every front end;
//! * [`grpc`]: the gRPC services.

pub mod client;
pub mod listener;
pub mod grpc;
