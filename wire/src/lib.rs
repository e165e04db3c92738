//! What goes over the wire: our protobuf messages, and `convert/` which turns them into the types
//! of `mandate`, `policy` and `ledger`. What decides takes no wire type.
//!
//! Not here: signing bytes (`ledger::envelope`), transport and retries (`chassis`).
#![forbid(unsafe_code)]

pub mod convert;
pub mod envoy;

/// Generated from `proto/`.
#[cfg_attr(
    feature = "grpc",
    expect(
        unused_qualifications,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::clone_on_ref_ptr,
        reason = "generated"
    )
)]
#[expect(missing_docs, clippy::pedantic, reason = "generated")]
pub mod pb {
    /// `caracal.*`
    pub mod caracal {
        pub mod envelope {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/caracal.envelope.v1.rs"));
            }
        }
        pub mod authority {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/caracal.authority.v1.rs"));
            }
        }
        pub mod audit {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/caracal.audit.v1.rs"));
            }
        }
        pub mod filter {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/caracal.filter.v1.rs"));
            }
        }
    }
}
