//! A type per task, so that a stage of one task cannot be put into a pipeline of another.

use pipeline_schema::{TaskSpec, task};

use crate::arch::generation::Prompt;

/// What a pipeline is asked to do.
pub trait Task: 'static {
    /// Name, aliases and description.
    const SPEC: &'static TaskSpec;
}

/// A task that a pipeline can do as a part of another, whatever its architecture is.
#[diagnostic::on_unimplemented(
    message = "a pipeline of the task `{Self}` cannot be a part of another",
    label = "not a part's task",
    note = "implement `pipelines::task::PartTask` for `{Self}`: what every pipeline of that task takes and gives"
)]
pub trait PartTask: Task {
    /// What every pipeline of this task takes: its input can be made from it.
    type Input: 'static;
    /// What every pipeline of this task gives: its output can be made into it.
    type Output: 'static;
}

/// Continues a prompt or answers a conversation: `text-generation`.
#[derive(Debug, Clone, Copy)]
pub enum TextGeneration {}

impl Task for TextGeneration {
    const SPEC: &'static TaskSpec = &task::TEXT_GENERATION;
}

impl PartTask for TextGeneration {
    type Input = Prompt;
    type Output = GeneratedText;
}

/// What every pipeline gives that generates text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedText {
    /// The whole text: the prompt and its continuation, or the answer to a conversation.
    pub text: String,
    /// What was generated, without the prompt.
    pub completion: String,
}

/// Turns a text into a vector: `feature-extraction`.
#[derive(Debug, Clone, Copy)]
pub enum FeatureExtraction {}

impl Task for FeatureExtraction {
    const SPEC: &'static TaskSpec = &task::FEATURE_EXTRACTION;
}

impl PartTask for FeatureExtraction {
    type Input = Prompt;
    /// The embedding.
    type Output = Vec<f32>;
}
