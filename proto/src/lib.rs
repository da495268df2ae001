//! The gRPC API of sixpin: package `sixpin.v1`, generated from the files under `proto/sixpin/v1`, which hold its
//! documentation.

/// Package `sixpin.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("sixpin.v1");
}

pub mod frames;
mod held;
mod hidden;

/// What the messages are made with: whoever reads or writes them by themselves needs it.
pub use prost;

/// What this version of the API has: what `Opened`, `Resumed` and `BrokerStatus` say of a broker, and what a client compares
/// with it before it sends something that came with a later level. See `docs/api.md`.
pub const API_LEVEL: u32 = 1;

/// The domain of the reasons in the standard details of a call's status (`google.rpc.ErrorInfo`).
pub const ERROR_DOMAIN: &str = "sixpin";

/// The compiled descriptors, for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sixpin.bin"));
