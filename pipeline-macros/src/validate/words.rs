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

/// A declaration names a task of its architecture, or none for the architecture's default.
pub(super) fn task(arguments: &Arguments, architecture: &Architecture, errors: &mut Errors) -> Task {
    match (&arguments.task, architecture) {
        (None, Architecture::Known { spec, span }) => Task::Known { spec: spec.default_task(), span: *span },
        (None, Architecture::Own(path)) => {
            if !arguments.unreadable.contains(&"task") {
                let example = format!("task = \"{}\"", task::TASKS[0].name);
                errors.push(path, format!("an architecture of your own has no default task; write `{example}`, or the path of a task of your own"));
            }
            Task::Known { spec: task::TASKS[0], span: path.span() }
        }
        (Some(word), architecture) => named_task(word, architecture, errors),
    }
}

fn named_task(word: &Word, architecture: &Architecture, errors: &mut Errors) -> Task {
    let found = word.text().as_deref().and_then(task::find);
    let known = |spec| Task::Known { spec, span: word.span() };
    match (found, architecture) {
        (Some(task), _) => known(task),
        (None, _) => match (word.type_path(), architecture) {
            (Some(path), _) => Task::Own(path),
            (None, Architecture::Known { spec, .. }) => {
                unknown_task(word, spec.tasks, errors);
                known(spec.default_task())
            }
            (None, Architecture::Own(_)) => {
                unknown_task(word, &task::TASKS, errors);
                known(task::TASKS[0])
            }
        },
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
