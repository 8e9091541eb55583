//! Everything that happens when a pipeline runs.
//!
//! `Input --preprocess--> Prepared --route--> Plan --infer--> Raw --format--> Output`
//!
//! | module | what it holds |
//! |---|---|
//! | [`stage`] | the four stages, [`Declaration`](stage::Declaration), [`Pipeline`](stage::Pipeline) |
//! | [`arch`] | an architecture a file: its input, prepared form, plan, raw result, output and parameters |
//! | [`models`] | a model family a file, top to bottom: configuration, blocks, model |
//! | [`tensor`] | [`Tensor`](tensor::Tensor), weight matrices, and the operations that models are written in |
//! | [`kernels`] | hand-written kernels, a family a folder, each beside its scalar twin |
//! | [`checkpoint`] | safetensors files, shards, configuration files |
//! | [`text`] | tokens, chat templates, sampling, streaming |

pub mod checkpoint;
pub mod error;
pub mod kernels;
pub mod text;

pub use error::{Error, Result};
