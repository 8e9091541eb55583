//! Ready-made pipelines: for a checkpoint at hand, without a declaration of one's own.
//!
//! They are declared with `#[pipeline]` like a user's own and adjusted a call at a time with `run_with`.

use crate::pipeline;

/// Continues a prompt or answers a conversation with any mixture of experts.
#[pipeline(arch = "moe", task = "text-generation", hardware = [cuda, rocm, cpu], crate = crate)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MoeTextGeneration;

/// Turns texts into vectors with any mixture of experts.
#[pipeline(arch = "moe", task = "feature-extraction", hardware = [cuda, rocm, cpu], crate = crate)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MoeFeatureExtraction;

/// Continues a prompt or answers a conversation with any dense decoder.
#[pipeline(arch = "text", task = "text-generation", hardware = [cuda, rocm, cpu], crate = crate)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DenseTextGeneration;

/// Turns texts into vectors with any dense decoder.
#[pipeline(arch = "text", task = "feature-extraction", hardware = [cuda, rocm, cpu], crate = crate)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DenseFeatureExtraction;
