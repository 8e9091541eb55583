//! Third step: the rules. What they accept is the model that `expand` takes.
//!
//! Rules that the loader applies as well live in `pipeline-schema`; here are those of the Rust code around them.

mod crate_path;
mod literals;
mod model;
mod params;
mod parts;
mod shared;
mod stages;
mod types;
mod words;

use std::path::Path;

use pipeline_schema::{ARCHITECTURES, ArchitectureSpec, Subject, TaskSpec, Value};
use proc_macro2::{Ident, TokenStream};

use self::words::{Certainty, Named};
use crate::error::Errors;
use crate::model::{Architecture, Outline, Pipeline, Task};
use crate::parse::{Arguments, Declared};

/// A parameter as declared, for the rules, and where it stands.
struct DeclaredValue {
    name: String,
    value: Option<Value>,
    tokens: TokenStream,
}

/// Holds a declaration against every rule. After a mistake there is only an outline.
///
/// `manifest_directory` is where the paths of the declaration begin.
pub(crate) fn validate(
    arguments: &Arguments,
    declared: Declared,
    words: Vec<TokenStream>,
    manifest_directory: Option<&Path>,
    errors: &mut Errors,
) -> Result<Pipeline, Box<Outline>> {
    let Declared { item, written, fields, .. } = declared;
    let architecture = words::architecture(arguments, &item.ident, errors);
    let spec = spec_of(&architecture);
    let task = words::task(arguments, &architecture.value, errors);
    let hardware = words::hardware(arguments, errors);
    let dtype = words::dtype(arguments, errors);
    let stages = stages::stages(arguments, errors);
    let parts = parts::parts(arguments, &architecture.value, errors);
    let checkpoint = model::read(arguments, spec, manifest_directory, errors);
    let mut values = Vec::new();
    let fields = fields.into_iter().map(|field| params::field(field, spec, &mut values, errors)).collect();
    let subjects = shared::Subjects {
        arguments,
        name: &item.ident,
        values: &values,
        parts: &parts,
        misspelt: [
            (Subject::Arch, architecture.certainty == Certainty::Nearest),
            (Subject::Task, task.certainty == Certainty::Nearest),
        ],
    };
    let judged = task_of(&task);
    shared::check(spec, judged, &hardware, dtype, checkpoint.as_deref(), &subjects, errors);
    let crate_path = crate_path::crate_path(arguments, manifest_directory, &item.ident);
    let (architecture, task) = runnable(architecture.value, task.value, &item.ident);
    let outline = Outline { item, written, words, crate_path, architecture, task, stages };
    let model = checkpoint.and_then(|checkpoint| model::declared(arguments, manifest_directory, &checkpoint));
    if errors.is_empty() {
        Ok(Pipeline { outline, hardware, model, dtype, parts, fields })
    } else {
        Err(Box::new(outline))
    }
}

/// The architecture to judge by: none of the user's own, and none where the word says nothing.
fn spec_of(architecture: &Named<Architecture>) -> Option<&'static ArchitectureSpec> {
    match &architecture.value {
        Architecture::Known { spec, .. } if architecture.certainty != Certainty::Unknown => Some(spec),
        _ => None,
    }
}

/// The task to judge by, as the architecture.
fn task_of(task: &Named<Option<Task>>) -> Option<&'static TaskSpec> {
    match &task.value {
        Some(Task::Known { spec, .. }) if task.certainty != Certainty::Unknown => Some(spec),
        _ => None,
    }
}

/// An architecture and a task that have types, so that they can be put into a stub: for what does not run, and for an
/// architecture of the user's own without a task, others stand in.
fn runnable(architecture: Architecture, task: Option<Task>, name: &Ident) -> (Architecture, Task) {
    let span = name.span();
    let default = |spec: &ArchitectureSpec| Task::Known { spec: spec.default_task(), span };
    match (architecture, task) {
        (Architecture::Known { spec, span }, Some(task)) if spec.runs() => {
            let task = match task {
                Task::Known { spec: known, .. } if !spec.runs_task(known) => default(spec),
                task => task,
            };
            (Architecture::Known { spec, span }, task)
        }
        (architecture @ Architecture::Own(_), Some(task)) => (architecture, task),
        _ => (Architecture::Known { spec: ARCHITECTURES[0], span }, default(ARCHITECTURES[0])),
    }
}
