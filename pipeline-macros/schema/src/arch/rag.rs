//! `rag`.

use super::generation::{MAX_NEW_TOKENS, TEMPERATURE, TOP_P};
use super::{ArchitectureSpec, PartSpec, Runs};
use crate::TaskSpec;
use crate::parameter::{ParameterKind, ParameterSpec};
use crate::task;

/// Models that answer from documents.
pub const RAG: ArchitectureSpec = ArchitectureSpec {
    name: "rag",
    aliases: &["retrieval-augmented-generation"],
    type_name: "Rag",
    description: "retrieval-augmented generation: documents are found and an answer is written from them",
    tasks: &[&task::QUESTION_ANSWERING, &task::DOCUMENT_RETRIEVAL, &task::TEXT_GENERATION, &task::CHAT],
    parameters: PARAMETERS,
    parts: &[
        PartSpec {
            name: "embedder",
            task: &task::FEATURE_EXTRACTION,
            required: false,
            description: "turns questions and documents into vectors",
        },
        PartSpec {
            name: "reranker",
            task: &task::TEXT_RANKING,
            required: false,
            description: "orders what was found by how well it answers the question",
        },
        PartSpec {
            name: "generator",
            task: &task::TEXT_GENERATION,
            required: false,
            description: "writes the answer",
        },
    ],
    model_types: &[],
    runs: Runs::Nothing,
};

/// The tasks that end in an answer, and not in the documents.
const ANSWERING: &[&TaskSpec] = &[&task::QUESTION_ANSWERING, &task::TEXT_GENERATION, &task::CHAT];

const PARAMETERS: &[ParameterSpec] = &[
    MAX_NEW_TOKENS,
    TEMPERATURE,
    TOP_P,
    ParameterSpec {
        name: "num_docs",
        kind: ParameterKind::Integer { min: 1, max: u64::MAX },
        default: "5",
        description: "documents to find",
        tasks: &[],
    },
    ParameterSpec {
        name: "doc_sep",
        kind: ParameterKind::Text,
        default: "a blank line",
        description: "what stands between documents in the prompt",
        tasks: ANSWERING,
    },
    ParameterSpec {
        name: "context",
        kind: ParameterKind::TextList,
        default: "none: documents are found",
        description: "documents to answer from, instead of finding any",
        tasks: ANSWERING,
    },
    ParameterSpec {
        name: "num_beams",
        kind: ParameterKind::Integer { min: 1, max: u64::MAX },
        default: "4",
        description: "answers that are written side by side, the likeliest to be kept; 1 is off",
        tasks: ANSWERING,
    },
    ParameterSpec {
        name: "retriever",
        kind: ParameterKind::Choice(&["dense", "lexical", "hybrid"]),
        default: "`dense`",
        description: "finds documents by their vectors, by their words, or by both",
        tasks: &[],
    },
    ParameterSpec {
        name: "rerank",
        kind: ParameterKind::Boolean,
        default: "whether there is a `reranker`",
        description: "orders what was found by the part `reranker`",
        tasks: &[],
    },
    ParameterSpec {
        name: "min_score",
        kind: ParameterKind::Float { min: f64::MIN, max: f64::MAX },
        default: "none",
        description: "leaves out documents with a score below this",
        tasks: &[],
    },
    ParameterSpec {
        name: "diversity",
        kind: ParameterKind::Float { min: 0.0, max: 1.0 },
        default: "0",
        description: "prefers documents that differ from one another (maximal marginal relevance); 0 is off",
        tasks: &[],
    },
    ParameterSpec {
        name: "max_context_tokens",
        kind: ParameterKind::Integer { min: 1, max: u64::MAX },
        default: "what the generator's context has room for",
        description: "tokens that the documents in a prompt have together at most",
        tasks: ANSWERING,
    },
];
