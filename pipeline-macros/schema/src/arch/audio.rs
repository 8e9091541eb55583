//! `audio`.

use super::generation::candidate_labels;
use super::{ArchitectureSpec, Runs};
use crate::parameter::{ParameterKind, ParameterSpec};
use crate::task;

/// Models that hear and speak.
pub const AUDIO: ArchitectureSpec = ArchitectureSpec {
    name: "audio",
    aliases: &["speech"],
    type_name: "Audio",
    description: "audio: a model writes down what is said, names what is heard, or speaks",
    tasks: &[
        &task::AUTOMATIC_SPEECH_RECOGNITION,
        &task::AUDIO_CLASSIFICATION,
        &task::ZERO_SHOT_AUDIO_CLASSIFICATION,
        &task::TEXT_TO_SPEECH,
    ],
    parameters: PARAMETERS,
    parts: &[],
    model_types: &[],
    runs: Runs::Nothing,
};

const PARAMETERS: &[ParameterSpec] = &[
    ParameterSpec {
        name: "language",
        kind: ParameterKind::Text,
        default: "heard",
        description: "the language that is spoken, as `en`",
        tasks: &[&task::AUTOMATIC_SPEECH_RECOGNITION],
    },
    ParameterSpec {
        name: "return_timestamps",
        kind: ParameterKind::Choice(&["none", "segment", "word"]),
        default: "`segment`",
        description: "what is told when it was said",
        tasks: &[&task::AUTOMATIC_SPEECH_RECOGNITION],
    },
    candidate_labels(&[&task::ZERO_SHOT_AUDIO_CLASSIFICATION]),
];
