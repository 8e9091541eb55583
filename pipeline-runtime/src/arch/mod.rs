//! Architectures, a file or folder each: inputs, stages, outputs and parameters.

pub mod features;
pub mod generation;
pub mod moe;
pub mod text;

pub use moe::Moe;
pub use text::Text;
