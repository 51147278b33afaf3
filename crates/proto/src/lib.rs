//! What masters, workers and clients say to each other: Rust generated from `/proto`, and the conversions between
//! those shapes and the core's types.
//!
//! ```text
//!  /proto/muster/v1/*.proto           ──► v1            the public API
//!  /proto/muster/internal/v1/*.proto  ──► internal::v1  masters among themselves, and their disks
//! ```
//!
//! This is the only crate that knows protobuf shapes of the core's types.

pub mod convert;

/// The public API, package `muster.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/muster.v1.rs"));
}

/// What only Muster's own processes say and store.
pub mod internal {
    /// Package `muster.internal.v1`.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/muster.internal.v1.rs"));
    }
}

/// All of the above as an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
