//! Safetensors files, shards, configuration files.
//!
//! [`pipeline_schema::checkpoint::Checkpoint`] knows what a checkpoint says of itself; [`CheckpointFiles`]
//! adds the weights, mapped into memory: they are read from disk when they are touched, and shared with every
//! process that maps the same files.

mod files;
mod numbers;
mod slice;

pub use files::{CheckpointFiles, TensorView};
pub use numbers::Number;
pub use slice::MappedSlice;
