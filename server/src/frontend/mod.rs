//! Front ends: how clients reach the engines.
//!
//! # Layout
//!
//! * [`client`]: in whose share a request counts;
//! * [`listener`]: sockets and connections, for every protocol;
//! * [`api`]: what the process offers, in words that know no protocol;
//! * `messages`: the messages of `sixpin.v1` and the words of the API, translated both ways;
//! * [`grpc`]: the gRPC services, which only translate;
//! * [`http`]: JSON over HTTP/1.1 and HTTP/2;
//! * [`frames`]: the session stream without HTTP/2.

pub mod client;
pub mod listener;
pub mod api;
mod messages;
pub mod grpc;
pub(crate) mod http;
pub mod frames;
