//! A type per task, so that a stage of one task cannot be put into a pipeline of another.

use pipeline_schema::{TaskSpec, task};

/// What a pipeline is asked to do.
pub trait Task: 'static {
    /// Name, aliases and description.
    const SPEC: &'static TaskSpec;
}

/// Continues a prompt or answers a conversation: `text-generation`.
#[derive(Debug, Clone, Copy)]
pub enum TextGeneration {}

impl Task for TextGeneration {
    const SPEC: &'static TaskSpec = &task::TEXT_GENERATION;
}

/// Turns a text into a vector: `feature-extraction`.
#[derive(Debug, Clone, Copy)]
pub enum FeatureExtraction {}

impl Task for FeatureExtraction {
    const SPEC: &'static TaskSpec = &task::FEATURE_EXTRACTION;
}
