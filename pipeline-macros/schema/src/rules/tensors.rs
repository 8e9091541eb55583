//! Rules between the configuration of a checkpoint and its tensors.

use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::models::{Head, ModelConfig};
use crate::problem::{Problem, Subject, quoted};

/// How many tensors at fault a problem names before it only counts.
const NAMED: usize = 3;

/// How many missing tensors are counted: a configuration can ask for any number of them.
const COUNTED: usize = 10_000;

/// Applies the rules of one tensor to every tensor that the configuration asks for.
pub(super) fn check_tensors(checkpoint: &Checkpoint, model: &ModelConfig, head: Head) -> Vec<Problem> {
    let (mut missing, mut misshapen, mut not_float) =
        (AtFault::default(), AtFault::default(), AtFault::default());
    let mut place = 0;
    for (name, shape) in model.tensors(head) {
        let tensor = match tensor_is_there(checkpoint, &name, &shape, &mut place) {
            Ok(tensor) => tensor,
            Err(words) => {
                missing.note(words, || {
                    checkpoint.shown(if checkpoint.files().len() == 1 {
                        &checkpoint.files()[0].name
                    } else {
                        INDEX
                    })
                });
                if missing.count == COUNTED {
                    break;
                }
                continue;
            }
        };
        let file = || checkpoint.shown(&checkpoint.files()[tensor.file].name);
        if let Err(words) = tensor_has_its_shape(&name, tensor, &shape) {
            misshapen.note(words, file);
        }
        if let Err(words) = tensor_is_floating_point(&name, tensor) {
            not_float.note(words, file);
        }
    }
    let lacks =
        if missing.count == 1 { "the checkpoint lacks tensor " } else { "the checkpoint lacks tensors " };
    let problems = [missing.problem(lacks), misshapen.problem("tensor "), not_float.problem("tensor ")];
    problems.into_iter().flatten().collect()
}

const INDEX: &str = "model.safetensors.index.json";

/// What is wrong with one tensor, put into words only if they are needed.
type Fault<'a> = Box<dyn FnOnce() -> String + 'a>;

/// A tensor that the configuration asks for is in the checkpoint.
fn tensor_is_there<'a>(
    checkpoint: &'a Checkpoint,
    name: &'a str,
    shape: &'a [usize],
    place: &mut usize,
) -> Result<&'a TensorInfo, Fault<'a>> {
    checkpoint
        .tensors()
        .get_next(name, place)
        .ok_or_else(|| Box::new(move || format!("{} {shape:?}", quoted(name))) as Fault<'_>)
}

/// A tensor has the shape that the configuration gives it.
fn tensor_has_its_shape<'a>(
    name: &'a str,
    tensor: &'a TensorInfo,
    shape: &'a [usize],
) -> Result<(), Fault<'a>> {
    if tensor.shape == shape {
        return Ok(());
    }
    Err(Box::new(move || format!("{} has shape {:?}, expected {shape:?}", quoted(name), tensor.shape)))
}

/// A tensor of the model is stored in a format that models compute in.
fn tensor_is_floating_point<'a>(name: &'a str, tensor: &'a TensorInfo) -> Result<(), Fault<'a>> {
    if tensor.dtype.float().is_some() {
        return Ok(());
    }
    let found = tensor.dtype.name();
    Err(Box::new(move || {
        format!("{} is stored as {}, expected `F32`, `BF16` or `F16`", quoted(name), quoted(found))
    }))
}

/// Tensors at fault, the first few in words.
#[derive(Default)]
struct AtFault {
    named: Vec<String>,
    count: usize,
    source: Option<String>,
}

impl AtFault {
    /// Notes one more.
    fn note(&mut self, words: Fault<'_>, source: impl FnOnce() -> String) {
        if self.named.len() < NAMED {
            self.named.push(words());
            self.source.get_or_insert_with(source);
        }
        self.count += 1;
    }

    /// The problem: `heading`, what is named, and how many others there are.
    fn problem(self, heading: &str) -> Option<Problem> {
        let others = match self.count - self.named.len() {
            0 => String::new(),
            1 => " and 1 other".to_owned(),
            others if self.count >= COUNTED => format!(" and more than {others} others"),
            others => format!(" and {others} others"),
        };
        let message = format!("{heading}{}{others}", self.named.join(", "));
        let problem = Problem { subject: Subject::Model, message, source: self.source };
        (self.count > 0).then_some(problem)
    }
}
