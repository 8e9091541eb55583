//! `diffusion`.

use super::{ArchitectureSpec, Runs};
use crate::TaskSpec;
use crate::parameter::{ParameterKind, ParameterSpec};
use crate::task;

/// Models that draw, and one that cuts out.
pub const DIFFUSION: ArchitectureSpec = ArchitectureSpec {
    name: "diffusion",
    aliases: &["vae", "sam", "text-to-image"],
    type_name: "Diffusion",
    description: "diffusion: an image is drawn by taking noise away in steps, or cut out along points and boxes",
    tasks: &[
        &task::TEXT_TO_IMAGE,
        &task::IMAGE_TO_IMAGE,
        &task::INPAINTING,
        &task::IMAGE_VARIATION,
        &task::MASK_GENERATION,
    ],
    parameters: PARAMETERS,
    parts: &[],
    model_types: &[],
    runs: Runs::Nothing,
};

/// The tasks that draw.
const DRAWING: &[&TaskSpec] =
    &[&task::TEXT_TO_IMAGE, &task::IMAGE_TO_IMAGE, &task::INPAINTING, &task::IMAGE_VARIATION];

/// The task of SAM.
const CUTTING_OUT: &[&TaskSpec] = &[&task::MASK_GENERATION];

const PARAMETERS: &[ParameterSpec] = &[
    ParameterSpec {
        name: "num_inference_steps",
        kind: ParameterKind::Integer { min: 1, max: 1000 },
        default: "50",
        description: "steps in which noise is taken away",
        tasks: DRAWING,
    },
    ParameterSpec {
        name: "guidance_scale",
        kind: ParameterKind::Float { min: 0.0, max: 100.0 },
        default: "7.5",
        description: "how closely the prompt is followed; at most 1 is off",
        tasks: DRAWING,
    },
    ParameterSpec {
        name: "negative_prompt",
        kind: ParameterKind::Text,
        default: "none",
        description: "what not to draw",
        tasks: DRAWING,
    },
    side("width"),
    side("height"),
    ParameterSpec {
        name: "strength",
        kind: ParameterKind::Float { min: 0.0, max: 1.0 },
        default: "0.75",
        description: "how much of the given image is drawn anew: 0 nothing, 1 everything",
        tasks: &[&task::IMAGE_TO_IMAGE, &task::INPAINTING],
    },
    ParameterSpec {
        name: "num_images",
        kind: ParameterKind::Integer { min: 1, max: u64::MAX },
        default: "1",
        description: "images to draw for a prompt",
        tasks: DRAWING,
    },
    ParameterSpec {
        name: "seed",
        kind: ParameterKind::Integer { min: 0, max: u64::MAX },
        default: "drawn, and reported in the output",
        description: "reproduces an image",
        tasks: DRAWING,
    },
    ParameterSpec {
        name: "scheduler",
        kind: ParameterKind::Choice(&[
            "ddim",
            "ddpm",
            "pndm",
            "euler",
            "euler-ancestral",
            "heun",
            "dpmpp-2m-karras",
            "dpmpp-sde-karras",
            "unipc",
            "lcm",
            "flow-match-euler",
        ]),
        default: "the checkpoint's",
        description: "which noise levels the steps visit, and how a step is made",
        tasks: DRAWING,
    },
    ParameterSpec {
        name: "clip_skip",
        kind: ParameterKind::Integer { min: 1, max: 31 },
        default: "none",
        description: "last layers of the text encoder that are left out",
        tasks: DRAWING,
    },
    ParameterSpec {
        name: "points",
        kind: ParameterKind::Tuples { length: 2 },
        default: "none",
        description: "pixels, each as `[x, y]`, of what is to be cut out, or of what is not",
        tasks: CUTTING_OUT,
    },
    ParameterSpec {
        name: "point_labels",
        kind: ParameterKind::IntegerList { min: 0, max: 1 },
        default: "1 for every point",
        description: "a number for each point: 1 within what is to be cut out, 0 outside",
        tasks: CUTTING_OUT,
    },
    ParameterSpec {
        name: "boxes",
        kind: ParameterKind::Tuples { length: 4 },
        default: "none",
        description: "boxes in pixels, each as `[left, top, right, bottom]`, around what is to be cut out",
        tasks: CUTTING_OUT,
    },
    ParameterSpec {
        name: "multimask_output",
        kind: ParameterKind::Boolean,
        default: "true",
        description: "gives three masks for what the points may mean, not one",
        tasks: CUTTING_OUT,
    },
];

/// A side of the image that is drawn.
const fn side(name: &'static str) -> ParameterSpec {
    ParameterSpec {
        name,
        kind: ParameterKind::Integer { min: 8, max: 16384 },
        default: "the model's: 512, 768 or 1024",
        description: "pixels, a multiple of 8",
        tasks: DRAWING,
    }
}
