//! The rules of the words: architecture, task, hardware, number format.

use pipeline_schema::{ARCHITECTURES, DType, Hardware, TaskSpec, arch, suggest, task};
use proc_macro2::Ident;
use syn::spanned::Spanned;

use crate::error::Errors;
use crate::model::{Architecture, Task};
use crate::parse::{Arguments, Word};

/// A declaration names an architecture that exists.
///
/// After a mistake it is the nearest one, so that code which uses the pipeline is not reported as well; where
/// none is near, nothing that depends on the architecture is judged: the second value is `false`.
pub(super) fn architecture(arguments: &Arguments, name: &Ident, errors: &mut Errors) -> (Architecture, bool) {
    let Some(word) = &arguments.arch else {
        if !arguments.unreadable.contains(&"arch") {
            let example = "#[pipeline(arch = \"moe\", hardware = [cpu])]";
            errors.push(name, format!("`{name}` declares no architecture; write `{example}`"));
        }
        return (Architecture::Known { spec: ARCHITECTURES[0], span: name.span() }, false);
    };
    let known = |spec| Architecture::Known { spec, span: word.span() };
    if let Some(spec) = word.text().as_deref().and_then(arch::find) {
        return (known(spec), true);
    }
    if let Some(path) = word.type_path() {
        return (Architecture::Own(path), true);
    }
    let text = word.text().unwrap_or_default();
    let spellings =
        ARCHITECTURES.iter().flat_map(|spec| [spec.name].into_iter().chain(spec.aliases.iter().copied()));
    let nearest = suggest::nearest(&text, spellings);
    let instead = match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!(
            "{}, or the path of a type of your own",
            suggest::one_of(ARCHITECTURES.map(|spec| spec.name))
        ),
    };
    errors.push(word, format!("unknown architecture `{text}`; {instead}"));
    match nearest.and_then(arch::find) {
        Some(spec) => (known(spec), true),
        None => (known(ARCHITECTURES[0]), false),
    }
}

/// A declaration names a task, or none for the architecture's default.
///
/// After a mistake it is the default; of an architecture of the user's own none is known, and that is `None`.
pub(super) fn task(arguments: &Arguments, architecture: &Architecture, errors: &mut Errors) -> Option<Task> {
    match (&arguments.task, architecture) {
        (Some(word), architecture) => named_task(word, architecture, errors),
        (None, Architecture::Known { spec, span }) => {
            Some(Task::Known { spec: spec.default_task(), span: *span })
        }
        (None, Architecture::Own(path)) => {
            if !arguments.unreadable.contains(&"task") {
                let example = task::TASKS[0].name;
                let instead = format!("write `task = \"{example}\"`, or the path of a task of your own");
                errors.push(path, format!("an architecture of your own has no default task; {instead}"));
            }
            None
        }
    }
}

fn named_task(word: &Word, architecture: &Architecture, errors: &mut Errors) -> Option<Task> {
    let span = word.span();
    if let Some(spec) = word.text().as_deref().and_then(task::find) {
        return Some(Task::Known { spec, span });
    }
    if let Some(path) = word.type_path() {
        return Some(Task::Own(path));
    }
    match architecture {
        Architecture::Known { spec, .. } => {
            unknown_task(word, spec.tasks, errors);
            Some(Task::Known { spec: spec.default_task(), span })
        }
        Architecture::Own(_) => {
            unknown_task(word, &task::TASKS, errors);
            None
        }
    }
}

/// A task exists.
fn unknown_task(word: &Word, tasks: &[&TaskSpec], errors: &mut Errors) {
    let text = word.text().unwrap_or_default();
    let spellings = tasks.iter().flat_map(|task| [task.name].into_iter().chain(task.aliases.iter().copied()));
    let instead = match suggest::nearest(&text, spellings) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => suggest::one_of(tasks.iter().map(|task| task.name)),
    };
    errors.push(word, format!("unknown task `{text}`; {instead}"));
}

/// A hardware list names hardware that there is.
///
/// The list is as declared, a kind named twice included: what it may hold is a rule of its own.
pub(super) fn hardware(arguments: &Arguments, errors: &mut Errors) -> Vec<Hardware> {
    let Some(list) = &arguments.hardware else { return vec![Hardware::Cpu] };
    let before = errors.len();
    let mut known = Vec::new();
    for word in &list.words {
        match Hardware::from_name(&word.text().unwrap_or_default()) {
            Ok(hardware) => known.push(hardware),
            Err(message) => errors.push(word, message),
        }
    }
    if known.is_empty() && errors.len() > before { vec![Hardware::Cpu] } else { known }
}

/// A number format is one that weights can be kept in.
pub(super) fn dtype(arguments: &Arguments, errors: &mut Errors) -> Option<DType> {
    let word = arguments.dtype.as_ref()?;
    let text = word.text().unwrap_or_default();
    let dtype = DType::from_name(&text);
    if dtype.is_none() {
        let instead = suggest::instead(&text, DType::ALL.map(DType::name));
        errors.push(word, format!("unknown dtype `{text}`; {instead}"));
    }
    dtype
}
