//! The architectures: what each is called, what it can do and what can be adjusted.

use crate::parameter::{ParameterKind, ParameterSpec};
use crate::task::{self, TaskSpec};

/// One architecture.
#[derive(Debug, PartialEq)]
pub struct ArchitectureSpec {
    /// The canonical name.
    pub name: &'static str,
    /// Other accepted spellings.
    pub aliases: &'static [&'static str],
    /// The type in `pipelines::arch` that stands for it.
    pub type_name: &'static str,
    /// What it is, in a sentence.
    pub description: &'static str,
    /// What it can do; the first is the default.
    pub tasks: &'static [&'static TaskSpec],
    /// What can be adjusted.
    pub parameters: &'static [ParameterSpec],
    /// The pipelines it works with.
    pub parts: &'static [PartSpec],
    /// The values of `model_type` in `config.json` that belong to it.
    pub model_types: &'static [&'static str],
}

/// A pipeline that is a part of another: `generator = Storyteller`.
#[derive(Debug, PartialEq)]
pub struct PartSpec {
    /// The key in a declaration.
    pub name: &'static str,
    /// What the part must do.
    pub task: &'static TaskSpec,
    /// Whether every declaration names one.
    pub required: bool,
    /// What it is for, in a sentence.
    pub description: &'static str,
}

/// Every architecture there is.
pub const ARCHITECTURES: [&ArchitectureSpec; 1] = [&MOE];

/// Sparse mixtures of experts.
pub const MOE: ArchitectureSpec = ArchitectureSpec {
    name: "moe",
    aliases: &["mixture-of-experts", "mixture_of_experts", "sparse"],
    type_name: "Moe",
    description: "mixture of experts: a router sends each token through a few of many feed-forward networks",
    tasks: &[&task::TEXT_GENERATION, &task::FEATURE_EXTRACTION],
    parameters: &MOE_PARAMETERS,
    parts: &[],
    model_types: &["mixtral"],
};

const NO_LIMIT: u64 = u64::MAX;

const MOE_PARAMETERS: [ParameterSpec; 12] = [
    ParameterSpec {
        name: "max_new_tokens",
        kind: ParameterKind::Integer { min: 1, max: NO_LIMIT },
        default: "128",
        description: "tokens to generate at most",
    },
    ParameterSpec {
        name: "temperature",
        kind: ParameterKind::Float { min: 0.0, max: 100.0 },
        default: "0.7",
        description: "flattens (above 1) or sharpens (below 1) the distribution of the next token; 0 is greedy",
    },
    ParameterSpec {
        name: "top_p",
        kind: ParameterKind::Float { min: 0.0, max: 1.0 },
        default: "0.9",
        description: "samples from the likeliest tokens whose probabilities sum to this; 1 is off",
    },
    ParameterSpec {
        name: "top_k",
        kind: ParameterKind::Integer { min: 0, max: NO_LIMIT },
        default: "50",
        description: "samples from this many likeliest tokens; 0 is off",
    },
    ParameterSpec {
        name: "min_p",
        kind: ParameterKind::Float { min: 0.0, max: 1.0 },
        default: "0",
        description: "drops tokens less likely than this share of the likeliest token's probability; 0 is off",
    },
    ParameterSpec {
        name: "repetition_penalty",
        kind: ParameterKind::Float { min: 0.01, max: 100.0 },
        default: "1",
        description: "divides the logits of tokens seen before, above 1 discouraging them; 1 is off",
    },
    ParameterSpec {
        name: "do_sample",
        kind: ParameterKind::Boolean,
        default: "true",
        description: "draws the next token; `false` takes the likeliest",
    },
    ParameterSpec {
        name: "stop",
        kind: ParameterKind::TextList,
        default: "none",
        description: "texts that end the generation and are not part of the result",
    },
    ParameterSpec {
        name: "seed",
        kind: ParameterKind::Integer { min: 0, max: NO_LIMIT },
        default: "drawn, and reported in the output",
        description: "reproduces a run",
    },
    ParameterSpec {
        name: "num_active_experts",
        kind: ParameterKind::Integer { min: 1, max: NO_LIMIT },
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

impl ArchitectureSpec {
    /// Whether `name` is this architecture's name or an alias of it.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// The parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&'static ParameterSpec> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// The part of this name.
    pub fn part(&self, name: &str) -> Option<&'static PartSpec> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The task done when a declaration names none.
    pub fn default_task(&self) -> &'static TaskSpec {
        self.tasks[0]
    }
}

/// The architecture that `name` or an alias stands for.
///
/// ```
/// assert_eq!(pipeline_schema::arch::find("sparse").unwrap().name, "moe");
/// ```
pub fn find(name: &str) -> Option<&'static ArchitectureSpec> {
    ARCHITECTURES.into_iter().find(|architecture| architecture.answers_to(name))
}

/// The architecture that a `model_type` belongs to. The type is compared exactly.
pub fn of_model_type(model_type: &str) -> Option<&'static ArchitectureSpec> {
    ARCHITECTURES.into_iter().find(|architecture| architecture.model_types.contains(&model_type))
}
