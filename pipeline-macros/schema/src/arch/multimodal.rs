//! `multimodal`.

use super::generation::{
    DO_SAMPLE, MAX_NEW_TOKENS, MIN_P, REPETITION_PENALTY, SEED, STOP, TEMPERATURE, TOP_K, TOP_P,
};
use super::{ArchitectureSpec, Runs};
use crate::parameter::ParameterSpec;
use crate::task;

/// Models in which images and texts meet.
pub const MULTIMODAL: ArchitectureSpec = ArchitectureSpec {
    name: "multimodal",
    aliases: &[],
    type_name: "Multimodal",
    description: "multimodal: images and texts are read together, as far as they are there",
    tasks: &[&task::MULTIMODAL_CLASSIFICATION, &task::IMAGE_TEXT_TO_TEXT, &task::MULTIMODAL_RETRIEVAL],
    parameters: PARAMETERS,
    parts: &[],
    model_types: &[],
    runs: Runs::Nothing,
};

const PARAMETERS: &[ParameterSpec] =
    &[MAX_NEW_TOKENS, TEMPERATURE, TOP_P, TOP_K, MIN_P, REPETITION_PENALTY, DO_SAMPLE, STOP, SEED];
