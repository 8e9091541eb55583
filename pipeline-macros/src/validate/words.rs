//! The rules of the words: architecture, task, hardware, number format.

use pipeline_schema::{ARCHITECTURES, DType, Hardware, TaskSpec, arch, rules, suggest, task};
use proc_macro2::Ident;
use syn::spanned::Spanned;

use crate::error::Errors;
use crate::model::{Architecture, Task};
use crate::parse::{Arguments, Word};

/// What a word stands for, and how sure that is.
pub(super) struct Named<T> {
    pub(super) value: T,
    pub(super) certainty: Certainty,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Certainty {
    /// The word stands for it.
    Certain,
    /// The word is misspelt and this is the nearest.
    Nearest,
    /// Nothing is near: nothing that depends on it is judged.
    Unknown,
}

impl<T> Named<T> {
    const fn certain(value: T) -> Named<T> {
        Named { value, certainty: Certainty::Certain }
    }

    const fn nearest(value: T) -> Named<T> {
        Named { value, certainty: Certainty::Nearest }
    }

    const fn unknown(value: T) -> Named<T> {
        Named { value, certainty: Certainty::Unknown }
    }
}

/// A declaration names an architecture that exists.
///
/// After a mistake it is the nearest one, so that code which uses the pipeline is not reported as well.
pub(super) fn architecture(arguments: &Arguments, name: &Ident, errors: &mut Errors) -> Named<Architecture> {
    let Some(word) = &arguments.arch else {
        if !arguments.unreadable.contains(&"arch") {
            let example = "#[pipeline(arch = \"moe\", hardware = [cpu])]";
            errors.push(name, format!("`{name}` declares no architecture; write `{example}`"));
        }
        return Named::unknown(Architecture::Known { spec: ARCHITECTURES[0], span: name.span() });
    };
    let known = |spec| Architecture::Known { spec, span: word.span() };
    if let Some(spec) = word.text().as_deref().and_then(arch::find) {
        return Named::certain(known(spec));
    }
    if let Some(path) = word.type_path() {
        return Named::certain(Architecture::Own(path));
    }
    let text = word.text().unwrap_or_default();
    let spellings =
        ARCHITECTURES.iter().flat_map(|spec| [spec.name].into_iter().chain(spec.aliases.iter().copied()));
    let Some(nearest) = suggest::nearest(&text, spellings) else {
        let instead = suggest::one_of(arch::running().map(|spec| spec.name));
        errors.push(
            word,
            format!("unknown architecture `{text}`; {instead}, or the path of a type of your own"),
        );
        return Named::unknown(known(ARCHITECTURES[0]));
    };
    let spec = arch::find(nearest).expect("it is a spelling of one");
    let yet = if spec.runs() { String::new() } else { format!("\n  {}", rules::not_run_yet(spec)) };
    errors.push(word, format!("unknown architecture `{text}`; did you mean `{nearest}`?{yet}"));
    Named::nearest(known(spec))
}

/// A declaration names a task, or none for the architecture's default.
///
/// After a mistake it is the nearest one or the default; of an architecture of the user's own none is known, and that is
/// `None`.
pub(super) fn task(
    arguments: &Arguments,
    architecture: &Architecture,
    errors: &mut Errors,
) -> Named<Option<Task>> {
    match (&arguments.task, architecture) {
        (Some(word), architecture) => named_task(word, architecture, errors),
        (None, Architecture::Known { spec, span }) => {
            Named::certain(Some(Task::Known { spec: spec.default_task(), span: *span }))
        }
        (None, Architecture::Own(path)) => {
            if !arguments.unreadable.contains(&"task") {
                let example = task::TASKS[0].name;
                let instead = format!("write `task = \"{example}\"`, or the path of a task of your own");
                errors.push(path, format!("an architecture of your own has no default task; {instead}"));
            }
            Named::unknown(None)
        }
    }
}

/// A task exists.
fn named_task(word: &Word, architecture: &Architecture, errors: &mut Errors) -> Named<Option<Task>> {
    let known = |spec| Some(Task::Known { spec, span: word.span() });
    let text = word.text();
    let of_architecture = |text| match architecture {
        Architecture::Known { spec, .. } => spec.task(text),
        Architecture::Own(_) => None,
    };
    if let Some(spec) = text.as_deref().and_then(|text| of_architecture(text).or_else(|| task::find(text))) {
        return Named::certain(known(spec));
    }
    if let Some(path) = word.type_path() {
        return Named::certain(Some(Task::Own(path)));
    }
    let text = text.unwrap_or_default();
    let spellings = |task: &&'static TaskSpec| [task.name].into_iter().chain(task.aliases.iter().copied());
    let Architecture::Known { spec, .. } = architecture else {
        let instead = match suggest::nearest(&text, task::TASKS.iter().flat_map(spellings)) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => {
                "expected a task of Hugging Face, as `text-generation`, or the path of a task of your own"
                    .to_owned()
            }
        };
        errors.push(word, format!("unknown task `{text}`; {instead}"));
        return Named::unknown(None);
    };
    let nearest = suggest::nearest(&text, spec.tasks.iter().flat_map(spellings));
    let Some((nearest, task)) = nearest.and_then(|nearest| Some((nearest, spec.task(nearest)?))) else {
        let instead = suggest::one_of(rules::possible_tasks(spec).map(|task| task.name));
        errors.push(word, format!("unknown task `{text}`; {instead}"));
        return Named::unknown(known(spec.default_task()));
    };
    let undone = spec.runs() && !spec.runs_task(task);
    let yet = if undone { format!("\n  {}", rules::not_done_yet(spec, task)) } else { String::new() };
    errors.push(word, format!("unknown task `{text}`; did you mean `{nearest}`?{yet}"));
    Named::nearest(known(task))
}

/// A hardware list names hardware that there is.
///
/// The list is as declared, a kind named twice included: what it may hold is a rule of its own.
pub(super) fn hardware(arguments: &Arguments, errors: &mut Errors) -> Vec<Hardware> {
    let Some(list) = &arguments.hardware else { return vec![Hardware::Cpu] };
    let before = errors.len();
    let mut known = Vec::new();
    for word in &list.words {
        match Hardware::from_name(&word.shown()) {
            Ok(hardware) => known.push(hardware),
            Err(message) => errors.push(word, message),
        }
    }
    if known.is_empty() && errors.len() > before { vec![Hardware::Cpu] } else { known }
}

/// A number format is one that weights can be kept in.
pub(super) fn dtype(arguments: &Arguments, errors: &mut Errors) -> Option<DType> {
    let word = arguments.dtype.as_ref()?;
    let text = word.shown();
    let dtype = DType::from_name(&text);
    if dtype.is_none() {
        let instead = suggest::instead(&text, DType::ALL.map(DType::name));
        errors.push(word, format!("unknown dtype `{text}`; {instead}"));
    }
    dtype
}
