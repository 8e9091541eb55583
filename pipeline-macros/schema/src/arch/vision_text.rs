//! `vision-text`.

use super::generation::{
    DO_SAMPLE, MAX_NEW_TOKENS, MIN_P, REPETITION_PENALTY, SEED, STOP, TEMPERATURE, TOP_K, TOP_P,
    candidate_labels,
};
use super::{ArchitectureSpec, Runs};
use crate::parameter::ParameterSpec;
use crate::task;

/// Models that hold images against texts, or describe them.
pub const VISION_TEXT: ArchitectureSpec = ArchitectureSpec {
    name: "vision-text",
    aliases: &["vision-encoder-text-decoder"],
    type_name: "VisionText",
    description: "vision and text: an encoder sees an image, and another reads or a decoder writes a text about it",
    tasks: &[
        &task::IMAGE_TEXT_MATCHING,
        &task::ZERO_SHOT_IMAGE_CLASSIFICATION,
        &task::VISUAL_QUESTION_ANSWERING,
        &task::IMAGE_TO_TEXT,
    ],
    parameters: PARAMETERS,
    parts: &[],
    model_types: &[],
    runs: Runs::Nothing,
};

const PARAMETERS: &[ParameterSpec] = &[
    candidate_labels(&[&task::ZERO_SHOT_IMAGE_CLASSIFICATION]),
    MAX_NEW_TOKENS,
    TEMPERATURE,
    TOP_P,
    TOP_K,
    MIN_P,
    REPETITION_PENALTY,
    DO_SAMPLE,
    STOP,
    SEED,
];
