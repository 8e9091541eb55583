//! `vision`.

use super::{ArchitectureSpec, Runs};
use crate::parameter::{ParameterKind, ParameterSpec};
use crate::task;

/// Models that see.
pub const VISION: ArchitectureSpec = ArchitectureSpec {
    name: "vision",
    aliases: &[],
    type_name: "Vision",
    description: "vision: a transformer or a convolutional network says what is in an image, and where",
    tasks: &[
        &task::IMAGE_CLASSIFICATION,
        &task::OBJECT_DETECTION,
        &task::IMAGE_SEGMENTATION,
        &task::IMAGE_FEATURE_EXTRACTION,
        &task::DEPTH_ESTIMATION,
    ],
    parameters: PARAMETERS,
    parts: &[],
    model_types: &[],
    runs: Runs::Nothing,
};

const PARAMETERS: &[ParameterSpec] = &[
    ParameterSpec {
        name: "top_k",
        kind: ParameterKind::Integer { min: 1, max: u64::MAX },
        default: "5",
        description: "labels to name, the likeliest first",
        tasks: &[&task::IMAGE_CLASSIFICATION],
    },
    ParameterSpec {
        name: "threshold",
        kind: ParameterKind::Float { min: 0.0, max: 1.0 },
        default: "0.5",
        description: "leaves out what is found with a score below this",
        tasks: &[&task::OBJECT_DETECTION, &task::IMAGE_SEGMENTATION],
    },
];
