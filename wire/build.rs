//! Compiles `proto/` without protoc.

use std::error::Error;

const PROTOS: [&str; 4] = [
    "proto/caracal/envelope/v1/envelope.proto",
    "proto/caracal/authority/v1/authority.proto",
    "proto/caracal/audit/v1/audit.proto",
    "proto/caracal/filter/v1/filter.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .compile_fds(descriptors)?;
    Ok(())
}
