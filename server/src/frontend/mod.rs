//! Front ends: how clients reach the engines.
//!
//! # Layout
//!
//! * [`client`]: in whose share a request counts;
//! * [`listener`]: sockets and connections, for every protocol;
//! * [`api`]: what the process offers, in words that know no protocol;
//! * [`grpc`]: the gRPC services, which only translate.

pub mod client;
pub mod listener;
pub mod api;
pub mod grpc;
