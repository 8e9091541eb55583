//! The rules that the macro and the loader share, and the tokens that their problems are about.

use pipeline_schema::checkpoint::Checkpoint;
use pipeline_schema::rules::{self, Request};
use pipeline_schema::{ARCHITECTURES, ArchitectureSpec, DType, Hardware, Problem, Subject, TaskSpec};
use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;

use super::DeclaredValue;
use crate::error::Errors;
use crate::model::Part;
use crate::parse::Arguments;
use crate::parse::arguments::HardwareList;

/// Where the subjects of problems stand in the source.
pub(super) struct Subjects<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) name: &'a Ident,
    pub(super) values: &'a [DeclaredValue],
    pub(super) parts: &'a [Part],
    /// Words that are misspelt: what is wrong with the nearest one is said where that is proposed.
    pub(super) misspelt: [(Subject, bool); 2],
}

/// Applies the rules of a declaration and, where there is one, of its checkpoint.
pub(super) fn check(
    architecture: Option<&'static ArchitectureSpec>,
    task: Option<&'static TaskSpec>,
    hardware: &[Hardware],
    dtype: Option<DType>,
    checkpoint: Option<&Checkpoint>,
    subjects: &Subjects<'_>,
    errors: &mut Errors,
) {
    // Of an architecture that no table knows, only what no architecture matters to can be judged.
    let (architecture, known) = (architecture.unwrap_or(ARCHITECTURES[0]), architecture.is_some());
    let mut request = Request::new(architecture, architecture.default_task(), hardware.to_vec());
    request.task = task.filter(|_| known);
    request.dtype = dtype;
    if known {
        request.parts.extend(subjects.parts.iter().map(|part| part.name.to_string()));
    }
    request.parameters.extend(subjects.values.iter().map(|value| (value.name.clone(), value.value.clone())));
    let mut problems = rules::check_declaration(&request);
    problems.retain(|problem| !subjects.misspelt.contains(&(problem.subject.clone(), true)));
    if let (Some(checkpoint), true) = (checkpoint, known) {
        problems.extend(rules::check_checkpoint(checkpoint, &request));
    }
    for problem in problems {
        errors.push(subjects.tokens(&problem.subject), message(&problem));
    }
}

/// What is wrong, and below it where the contradicting fact stands.
pub(super) fn message(problem: &Problem) -> String {
    match &problem.source {
        Some(source) => format!("{}\n  {source}", problem.message),
        None => problem.message.clone(),
    }
}

impl Subjects<'_> {
    fn tokens(&self, subject: &Subject) -> TokenStream {
        let Arguments { arch, task, hardware, model, dtype, .. } = self.arguments;
        let tokens = match subject {
            Subject::Arch => arch.as_ref().map(ToTokens::to_token_stream),
            Subject::Task => task.as_ref().or(arch.as_ref()).map(ToTokens::to_token_stream),
            Subject::Hardware => hardware.as_ref().map(repeated),
            Subject::Model => model.as_ref().map(ToTokens::to_token_stream),
            Subject::Dtype => dtype.as_ref().map(ToTokens::to_token_stream),
            Subject::Part(name) => {
                let part = self.parts.iter().find(|part| part.name == name);
                part.map(|part| part.name.to_token_stream()).or(arch.as_ref().map(ToTokens::to_token_stream))
            }
            Subject::Parameter(name) => {
                let declared = self.values.iter().find(|value| value.name == *name);
                declared
                    .map(|value| value.tokens.clone())
                    .or_else(|| model.as_ref().map(ToTokens::to_token_stream))
            }
        };
        tokens.unwrap_or_else(|| self.name.to_token_stream())
    }
}

/// The first hardware that is named a second time, or else the whole list.
fn repeated(list: &HardwareList) -> TokenStream {
    let mut before = Vec::new();
    for word in &list.words {
        let Ok(hardware) = Hardware::from_name(&word.text().unwrap_or_default()) else { continue };
        if before.contains(&hardware) {
            return word.to_token_stream();
        }
        before.push(hardware);
    }
    list.tokens.to_token_stream()
}
