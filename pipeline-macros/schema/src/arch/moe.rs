//! `moe`.

use super::ArchitectureSpec;
use super::generation::{
    DO_SAMPLE, MAX_NEW_TOKENS, MIN_P, REPETITION_PENALTY, SEED, STOP, TEMPERATURE, TOP_K, TOP_P,
};
use crate::parameter::{ParameterKind, ParameterSpec};
use crate::task;

/// Sparse mixtures of experts.
pub const MOE: ArchitectureSpec = ArchitectureSpec {
    name: "moe",
    aliases: &["mixture-of-experts", "mixture_of_experts", "sparse"],
    type_name: "Moe",
    description: "mixture of experts: a router sends each token through a few of many feed-forward networks",
    tasks: &[&task::TEXT_GENERATION, &task::FEATURE_EXTRACTION],
    parameters: &PARAMETERS,
    parts: &[],
    model_types: &["mixtral"],
};

const PARAMETERS: [ParameterSpec; 12] = [
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
        name: "num_active_experts",
        kind: ParameterKind::Integer { min: 1, max: u64::MAX },
        default: "the checkpoint's `num_experts_per_tok`",
        description: "experts that each token visits in a layer",
    },
    ParameterSpec {
        name: "capacity_factor",
        kind: ParameterKind::Float { min: 0.01, max: 1000.0 },
        default: "none: every token reaches its experts",
        description: "limits an expert to this many times its even share of a batch's tokens",
    },
    ParameterSpec {
        name: "overflow",
        kind: ParameterKind::Choice(&["drop", "reroute"]),
        default: "`drop`",
        description: "what becomes of a token whose expert is full: no output from it, or its next best expert",
    },
];
