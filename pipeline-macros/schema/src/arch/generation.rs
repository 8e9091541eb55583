//! The parameters of every architecture that generates text, each as Hugging Face names it.

use crate::TaskSpec;
use crate::parameter::{ParameterKind, ParameterSpec};
use crate::task;

/// The tasks whose answer is written token by token.
const WRITING: &[&TaskSpec] = &[
    &task::TEXT_GENERATION,
    &task::TEXT2TEXT_GENERATION,
    &task::TRANSLATION,
    &task::SUMMARIZATION,
    &task::QUESTION_ANSWERING,
    &task::CHAT,
    &task::VISUAL_QUESTION_ANSWERING,
    &task::IMAGE_TO_TEXT,
    &task::IMAGE_TEXT_TO_TEXT,
    &task::AUTOMATIC_SPEECH_RECOGNITION,
];

/// The length of what is generated.
pub(super) const MAX_NEW_TOKENS: ParameterSpec = ParameterSpec {
    name: "max_new_tokens",
    kind: ParameterKind::Integer { min: 1, max: u64::MAX },
    default: "128",
    description: "tokens to generate at most",
    tasks: WRITING,
};

/// How even the distribution is that tokens are drawn from.
pub(super) const TEMPERATURE: ParameterSpec = ParameterSpec {
    name: "temperature",
    kind: ParameterKind::Float { min: 0.0, max: 100.0 },
    default: "0.7",
    description: "flattens (above 1) or sharpens (below 1) the distribution of the next token; 0 is greedy",
    tasks: WRITING,
};

/// Nucleus sampling (<https://arxiv.org/abs/1904.09751>).
pub(super) const TOP_P: ParameterSpec = ParameterSpec {
    name: "top_p",
    kind: ParameterKind::Float { min: 0.0, max: 1.0 },
    default: "0.9",
    description: "samples from the likeliest tokens whose probabilities sum to this; 1 is off",
    tasks: WRITING,
};

/// Top-k sampling (<https://arxiv.org/abs/1805.04833>).
pub(super) const TOP_K: ParameterSpec = ParameterSpec {
    name: "top_k",
    kind: ParameterKind::Integer { min: 0, max: u64::MAX },
    default: "50",
    description: "samples from this many likeliest tokens; 0 is off",
    tasks: WRITING,
};

/// Min-p sampling (<https://arxiv.org/abs/2407.01082>).
pub(super) const MIN_P: ParameterSpec = ParameterSpec {
    name: "min_p",
    kind: ParameterKind::Float { min: 0.0, max: 1.0 },
    default: "0",
    description: "drops tokens less likely than this share of the likeliest token's probability; 0 is off",
    tasks: WRITING,
};

/// The penalty of CTRL (<https://arxiv.org/abs/1909.05858>).
pub(super) const REPETITION_PENALTY: ParameterSpec = ParameterSpec {
    name: "repetition_penalty",
    kind: ParameterKind::Float { min: 0.01, max: 100.0 },
    default: "1",
    description: "divides the logits of tokens seen before, above 1 discouraging them; 1 is off",
    tasks: WRITING,
};

/// Sampling or greedy decoding.
pub(super) const DO_SAMPLE: ParameterSpec = ParameterSpec {
    name: "do_sample",
    kind: ParameterKind::Boolean,
    default: "true",
    description: "draws the next token; `false` takes the likeliest",
    tasks: WRITING,
};

/// Stop strings.
pub(super) const STOP: ParameterSpec = ParameterSpec {
    name: "stop",
    kind: ParameterKind::TextList,
    default: "none",
    description: "texts that end the generation and are not part of the result",
    tasks: WRITING,
};

/// The seed of all that is drawn.
pub(super) const SEED: ParameterSpec = ParameterSpec {
    name: "seed",
    kind: ParameterKind::Integer { min: 0, max: u64::MAX },
    default: "drawn, and reported in the output",
    description: "reproduces a run",
    tasks: WRITING,
};

/// The labels of a zero-shot task, which the model was not trained on.
pub(super) const fn candidate_labels(tasks: &'static [&'static TaskSpec]) -> ParameterSpec {
    ParameterSpec {
        name: "candidate_labels",
        kind: ParameterKind::TextList,
        default: "given with each input",
        description: "the labels to choose from",
        tasks,
    }
}
