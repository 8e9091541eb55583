//! The rules of the words: architecture, task, hardware, number format.

use pipeline_schema::{ARCHITECTURES, ArchitectureSpec, DType, Hardware, TaskSpec, arch, suggest, task};
use proc_macro2::Ident;
use syn::spanned::Spanned;

use crate::error::Errors;
use crate::model::{Architecture, Task};
use crate::parse::{Arguments, Word};

/// A declaration names an architecture that exists.
///
/// After a mistake it is the nearest one, so that code which uses the pipeline is not reported as well.
pub(super) fn architecture(arguments: &Arguments, name: &Ident, errors: &mut Errors) -> Architecture {
    let Some(word) = &arguments.arch else {
        if !arguments.unreadable.contains(&"arch") {
            let example = "#[pipeline(arch = \"moe\", hardware = [cpu])]";
            errors.push(name, format!("`{name}` declares no architecture; write `{example}`"));
        }
        return Architecture::Known { spec: ARCHITECTURES[0], span: name.span() };
    };
    let known = |spec| Architecture::Known { spec, span: word.span() };
    if let Some(spec) = word.text().as_deref().and_then(arch::find) {
        return known(spec);
    }
    if let Some(path) = word.type_path() {
        return Architecture::Own(path);
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
    known(nearest.and_then(arch::find).unwrap_or(ARCHITECTURES[0]))
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
        (Some(task), Architecture::Known { spec, .. }) => {
            known(if task_of(word, task, spec, errors) { task } else { spec.default_task() })
        }
        (Some(task), Architecture::Own(_)) => known(task),
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

/// A task is one that the architecture can do.
fn task_of(word: &Word, task: &TaskSpec, architecture: &ArchitectureSpec, errors: &mut Errors) -> bool {
    let can = |architecture: &ArchitectureSpec| architecture.tasks.contains(&task);
    if can(architecture) {
        return true;
    }
    let instead = suggest::one_of(architecture.tasks.iter().map(|task| task.name));
    let owners: Vec<_> =
        ARCHITECTURES.iter().filter(|owner| can(owner)).map(|owner| format!("`{}`", owner.name)).collect();
    let (name, task) = (architecture.name, task.name);
    errors.push(
        word,
        match owners.as_slice() {
            [] => format!("`{name}` cannot do the task `{task}`; {instead}"),
            owners => format!("`{task}` is a task of {}, not of `{name}`; {instead}", owners.join(", ")),
        },
    );
    false
}

/// A hardware list names at least one kind of hardware, each once, in the order in which it is wanted.
pub(super) fn hardware(arguments: &Arguments, errors: &mut Errors) -> Vec<Hardware> {
    let Some(list) = &arguments.hardware else { return vec![Hardware::Cpu] };
    if list.words.is_empty() {
        let instead = suggest::one_of(Hardware::ALL.map(Hardware::name));
        errors.push(&list.tokens, format!("the list of hardware is empty; {instead}"));
    }
    let mut found = Vec::new();
    for word in &list.words {
        match Hardware::from_name(&word.text().unwrap_or_default()) {
            Ok(hardware) if found.contains(&hardware) => {
                errors.push(word, format!("`{hardware}` is listed twice; keep the place where you want it"));
            }
            Ok(hardware) => found.push(hardware),
            Err(message) => errors.push(word, message),
        }
    }
    found
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
