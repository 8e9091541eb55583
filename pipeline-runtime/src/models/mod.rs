//! Model families, a file each, top to bottom: configuration, blocks, model.

pub mod decoder;
mod ends;
pub mod mixtral;

pub use ends::{DecoderEnds, EndsShape};
