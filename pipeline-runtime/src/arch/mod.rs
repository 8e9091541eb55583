//! Architectures, a file or folder each: inputs, stages, outputs and parameters.

pub mod generation;
pub mod moe;

pub use moe::Moe;
