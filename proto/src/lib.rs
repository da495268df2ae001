//! The gRPC API of sixpin: package `sixpin.v1`, generated from the files under `proto/sixpin/v1`, which hold its
//! documentation.

/// Package `sixpin.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("sixpin.v1");
}

/// The compiled descriptors, for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sixpin.bin"));
