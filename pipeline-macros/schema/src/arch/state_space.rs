//! `state-space`.

use super::generation::{
    DO_SAMPLE, MAX_NEW_TOKENS, MIN_P, REPETITION_PENALTY, SEED, STOP, TEMPERATURE, TOP_K, TOP_P,
};
use super::{ArchitectureSpec, Runs};
use crate::parameter::{ParameterKind, ParameterSpec};
use crate::task;

/// Recurrent models whose memory does not grow with the text.
pub const STATE_SPACE: ArchitectureSpec = ArchitectureSpec {
    name: "state-space",
    aliases: &["mamba", "rwkv", "recurrent", "linear-attention"],
    type_name: "StateSpace",
    description: "state space: a text of any length is read into a state of one size, which can be kept and resumed",
    tasks: &[
        &task::TEXT_GENERATION,
        &task::TEXT_CLASSIFICATION,
        &task::FEATURE_EXTRACTION,
        &task::QUESTION_ANSWERING,
    ],
    parameters: PARAMETERS,
    parts: &[],
    model_types: &[],
    runs: Runs::Nothing,
};

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
    ParameterSpec {
        name: "chunk_size",
        kind: ParameterKind::Integer { min: 1, max: u64::MAX },
        default: "chosen for the hardware",
        description: "tokens of a prompt that are read at once",
        tasks: &[],
    },
    ParameterSpec {
        name: "state_decode",
        kind: ParameterKind::Choice(&["recurrent", "parallel"]),
        default: "`parallel`",
        description: "how a prompt is read: token by token, or a chunk at once",
        tasks: &[],
    },
    ParameterSpec {
        name: "resume",
        kind: ParameterKind::Text,
        default: "none: the state begins empty",
        description: "the file of a saved state to go on from",
        tasks: &[],
    },
];
