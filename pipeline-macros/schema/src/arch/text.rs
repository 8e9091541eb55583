//! `text`.

use super::generation::{
    DO_SAMPLE, MAX_NEW_TOKENS, MIN_P, REPETITION_PENALTY, SEED, STOP, TEMPERATURE, TOP_K, TOP_P,
    candidate_labels,
};
use super::{ArchitectureSpec, Runs};
use crate::TaskSpec;
use crate::parameter::ParameterSpec;
use crate::task;

/// Dense transformers that read and write text.
pub const TEXT: ArchitectureSpec = ArchitectureSpec {
    name: "text",
    aliases: &["encoder-only", "decoder-only", "encoder-decoder"],
    type_name: "Text",
    description: "text: a transformer reads tokens and writes the next ones, or turns them into a vector",
    tasks: &[
        &task::TEXT_GENERATION,
        &task::FEATURE_EXTRACTION,
        &task::TEXT_CLASSIFICATION,
        &task::TOKEN_CLASSIFICATION,
        &task::QUESTION_ANSWERING,
        &task::FILL_MASK,
        &task::ZERO_SHOT_CLASSIFICATION,
        &task::TEXT2TEXT_GENERATION,
        &task::TRANSLATION,
        &task::SUMMARIZATION,
        &task::SENTENCE_SIMILARITY,
        &task::TEXT_RANKING,
    ],
    parameters: PARAMETERS,
    parts: &[],
    model_types: &["llama", "mistral", "qwen2", "qwen3"],
    runs: Runs::AllBut { tasks: TASKS_TO_COME, parameters: &["candidate_labels"] },
};

const TASKS_TO_COME: &[&TaskSpec] = &[
    &task::TEXT_CLASSIFICATION,
    &task::TOKEN_CLASSIFICATION,
    &task::QUESTION_ANSWERING,
    &task::FILL_MASK,
    &task::ZERO_SHOT_CLASSIFICATION,
    &task::TEXT2TEXT_GENERATION,
    &task::TRANSLATION,
    &task::SUMMARIZATION,
    &task::SENTENCE_SIMILARITY,
    &task::TEXT_RANKING,
];

const PARAMETERS: &[ParameterSpec] = &[
    MAX_NEW_TOKENS,
    TEMPERATURE,
    TOP_P,
    TOP_K,
    MIN_P,
    REPETITION_PENALTY,
    DO_SAMPLE,
    STOP,
    SEED,
    candidate_labels(&[&task::ZERO_SHOT_CLASSIFICATION]),
];
