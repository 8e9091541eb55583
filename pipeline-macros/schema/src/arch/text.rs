//! `text`.

use super::ArchitectureSpec;
use super::generation::{
    DO_SAMPLE, MAX_NEW_TOKENS, MIN_P, REPETITION_PENALTY, SEED, STOP, TEMPERATURE, TOP_K, TOP_P,
};
use crate::parameter::ParameterSpec;
use crate::task;

/// Dense transformers that read and write text.
pub const TEXT: ArchitectureSpec = ArchitectureSpec {
    name: "text",
    aliases: &[
        "encoder-only",
        "encoder_only",
        "decoder-only",
        "decoder_only",
        "encoder-decoder",
        "encoder_decoder",
    ],
    type_name: "Text",
    description: "text: a transformer reads tokens and writes the next ones, or turns them into a vector",
    tasks: &[&task::TEXT_GENERATION, &task::FEATURE_EXTRACTION],
    parameters: &PARAMETERS,
    parts: &[],
    model_types: &["llama", "mistral", "qwen2", "qwen3"],
};

const PARAMETERS: [ParameterSpec; 9] =
    [MAX_NEW_TOKENS, TEMPERATURE, TOP_P, TOP_K, MIN_P, REPETITION_PENALTY, DO_SAMPLE, STOP, SEED];
