//! `moe`.

use super::generation::{
    DO_SAMPLE, MAX_NEW_TOKENS, MIN_P, REPETITION_PENALTY, SEED, STOP, TEMPERATURE, TOP_K, TOP_P,
};
use super::{ArchitectureSpec, Runs};
use crate::parameter::{ParameterKind, ParameterSpec};
use crate::task;

/// Sparse mixtures of experts.
pub const MOE: ArchitectureSpec = ArchitectureSpec {
    name: "moe",
    aliases: &["mixture-of-experts", "sparse"],
    type_name: "Moe",
    description: "mixture of experts: a router sends each token through a few of many feed-forward networks",
    tasks: &[
        &task::TEXT_GENERATION,
        &task::FEATURE_EXTRACTION,
        &task::TEXT_CLASSIFICATION,
        &task::QUESTION_ANSWERING,
        &task::SUMMARIZATION,
    ],
    parameters: PARAMETERS,
    parts: &[],
    model_types: &["mixtral"],
    runs: Runs::AllBut {
        tasks: &[&task::TEXT_CLASSIFICATION, &task::QUESTION_ANSWERING, &task::SUMMARIZATION],
        parameters: &["routing", "router_jitter", "balance"],
    },
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
        name: "num_active_experts",
        kind: ParameterKind::Integer { min: 1, max: u64::MAX },
        default: "the checkpoint's `num_experts_per_tok`",
        description: "experts that each token visits in a layer",
        tasks: &[],
    },
    ParameterSpec {
        name: "capacity_factor",
        kind: ParameterKind::Float { min: 0.01, max: 1000.0 },
        default: "none: every token reaches its experts",
        description: "limits an expert to this many times its even share of a batch's tokens",
        tasks: &[],
    },
    ParameterSpec {
        name: "overflow",
        kind: ParameterKind::Choice(&["drop", "reroute"]),
        default: "`drop`",
        description: "what becomes of a token whose expert is full: no output from it, or its next best expert",
        tasks: &[],
    },
    ParameterSpec {
        name: "routing",
        kind: ParameterKind::Choice(&["top-k", "switch", "group-limited", "expert-choice"]),
        default: "the checkpoint's",
        description: "how experts are chosen for tokens, or tokens for experts",
        tasks: &[],
    },
    ParameterSpec {
        name: "router_jitter",
        kind: ParameterKind::Float { min: 0.0, max: 1.0 },
        default: "0",
        description: "multiplies what the router reads by noise that reaches this far from 1; 0 is off",
        tasks: &[],
    },
    ParameterSpec {
        name: "balance",
        kind: ParameterKind::Boolean,
        default: "the checkpoint's",
        description: "adds the bias that evens out the experts' load to the router's scores",
        tasks: &[],
    },
];
