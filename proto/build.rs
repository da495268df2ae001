//! Compiles the proto files with a compiler written in Rust, so that nobody needs `protoc`.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "sixpin/v1/types.proto",
        "sixpin/v1/claim.proto",
        "sixpin/v1/session.proto",
        "sixpin/v1/lock.proto",
        "sixpin/v1/lease.proto",
        "sixpin/v1/inspect.proto",
        "sixpin/v1/admin.proto",
        "sixpin/v1/bench.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("sixpin.bin"), descriptors.encode_to_vec())?;
    // A credential is not to get into a log with the message that brings it.
    let secret = ["sixpin.v1.Authenticate"];
    let mut messages = tonic_prost_build::Config::new();
    // HTTP finds the descriptor of a message by its name.
    messages.enable_type_names();
    tonic_prost_build::configure().bytes(".").skip_debug(secret).compile_fds_with_config(descriptors, messages)?;
    Ok(())
}
