//! Rules of a declaration alone.

use super::Request;
use crate::arch::{self, ARCHITECTURES, ArchitectureSpec};
use crate::problem::{Problem, Subject, quoted};
use crate::suggest;
use crate::task::TaskSpec;

/// An architecture is one that this version runs. The other rules hold for one that it does not run, too.
pub(super) fn architecture_runs(request: &Request) -> Option<Problem> {
    let architecture = request.architecture;
    if architecture.runs() {
        return None;
    }
    Some(Problem::new(Subject::Arch, not_run_yet(architecture)))
}

/// What is said of an architecture that this version does not run.
pub fn not_run_yet(architecture: &ArchitectureSpec) -> String {
    let running = suggest::all_of(arch::running().map(|running| running.name));
    format!("`{}` cannot run yet; this version runs {running}", architecture.name)
}

/// A task is one that the architecture can do.
pub(super) fn task_belongs_to_architecture(request: &Request) -> Option<Problem> {
    let (architecture, task) = (request.architecture, request.task?);
    if architecture.tasks.contains(&task) {
        return None;
    }
    let others = others(|other| other.tasks.contains(&task));
    let of = others.map(|others| format!(", it is a task of {others}")).unwrap_or_default();
    let instead = suggest::one_of(possible_tasks(architecture).map(|can| can.name));
    let message = format!("`{}` cannot do `{}`{of}; {instead}", architecture.name, task.name);
    Some(Problem::new(Subject::Task, message))
}

/// A task is one that this version does.
pub(super) fn task_runs(request: &Request) -> Option<Problem> {
    let (architecture, task) = (request.architecture, request.task?);
    if !architecture.runs() || !architecture.tasks.contains(&task) || architecture.runs_task(task) {
        return None;
    }
    Some(Problem::new(Subject::Task, not_done_yet(architecture, task)))
}

/// What is said of a task that this version does not do.
pub fn not_done_yet(architecture: &ArchitectureSpec, task: &TaskSpec) -> String {
    let running = suggest::all_of(architecture.running_tasks().map(|running| running.name));
    format!("`{}` cannot do `{}` yet; this version does {running}", architecture.name, task.name)
}

/// The tasks to choose from: those that run, or, where nothing does, all.
pub fn possible_tasks(architecture: &ArchitectureSpec) -> impl Iterator<Item = &'static TaskSpec> {
    let runs = architecture.runs();
    architecture.tasks.iter().copied().filter(move |task| !runs || architecture.runs_task(task))
}

/// The architectures that have something, in words.
fn others(have: impl Fn(&ArchitectureSpec) -> bool) -> Option<String> {
    let mut others = ARCHITECTURES.into_iter().filter(|other| have(other)).map(|other| other.name).peekable();
    others.peek()?;
    Some(suggest::all_of(others))
}

/// A pipeline runs somewhere: the list of hardware is not empty.
pub(super) fn hardware_is_named(request: &Request) -> Option<Problem> {
    if !request.hardware.is_empty() {
        return None;
    }
    let instead = suggest::one_of(crate::Hardware::ALL.map(crate::Hardware::name));
    Some(Problem::new(Subject::Hardware, format!("`hardware` is empty; {instead}, or several of them")))
}

/// Hardware is named once: the list is an order of preference.
pub(super) fn hardware_is_named_once(request: &Request) -> Option<Problem> {
    let hardware = &request.hardware;
    let twice = hardware.iter().enumerate().find(|(index, kind)| hardware[..*index].contains(kind))?.1;
    Some(Problem::new(Subject::Hardware, format!("hardware `{twice}` is named twice")))
}

/// All hardware of the list computes in the dtype that is asked for.
pub fn hardware_computes_in_dtype(request: &Request) -> Option<Problem> {
    let dtype = request.dtype?;
    let hardware = request.hardware.iter().find(|hardware| !hardware.dtypes().contains(&dtype))?;
    let instead = suggest::one_of(hardware.dtypes().iter().map(|dtype| dtype.name()));
    Some(Problem::new(Subject::Dtype, format!("`{hardware}` cannot compute in `{dtype}`; {instead}")))
}

/// A parameter is one of the architecture's.
pub(super) fn parameters_are_known(request: &Request) -> Vec<Problem> {
    let architecture = request.architecture;
    let unknown = request.parameters.iter().filter(|(name, _)| architecture.parameter(name).is_none());
    unknown
        .map(|(name, _)| {
            let message = match others(|other| other.parameter(name).is_some()) {
                Some(others) => {
                    format!("`{name}` is a parameter of {others}, not of `{}`", architecture.name)
                }
                None => {
                    let runs = |name: &&str| !architecture.runs() || architecture.runs_parameter(name);
                    let names = architecture.parameters.iter().map(|parameter| parameter.name).filter(runs);
                    format!("unknown parameter {}; {}", quoted(name), suggest::instead(name, names))
                }
            };
            Problem::new(Subject::Parameter(name.clone()), message)
        })
        .collect()
}

/// A parameter is one that can be set in this version.
pub(super) fn parameters_can_be_set(request: &Request) -> Vec<Problem> {
    let architecture = request.architecture;
    if !architecture.runs() {
        return Vec::new();
    }
    request
        .parameters
        .iter()
        .filter(|(name, _)| architecture.parameter(name).is_some() && !architecture.runs_parameter(name))
        .map(|(name, _)| {
            let message = format!(
                "`{name}` is a parameter of `{}` that cannot be set yet; remove it",
                architecture.name
            );
            Problem::new(Subject::Parameter(name.clone()), message)
        })
        .collect()
}

/// A part is one of the architecture's.
pub(super) fn parts_are_known(request: &Request) -> Vec<Problem> {
    let architecture = request.architecture;
    let unknown = request.parts.iter().filter(|name| architecture.part(name).is_none());
    unknown
        .map(|name| {
            let message = if let Some(others) = others(|other| other.part(name).is_some()) {
                format!("`{name}` is a part of {others}, not of `{}`", architecture.name)
            } else if architecture.parts.is_empty() {
                format!("unknown key {}; `{}` takes no pipelines as parts", quoted(name), architecture.name)
            } else {
                let instead = suggest::instead(name, architecture.parts.iter().map(|part| part.name));
                format!("unknown part {}; {instead}", quoted(name))
            };
            Problem::new(Subject::Part(name.clone()), message)
        })
        .collect()
}

/// Every part that the architecture needs is declared.
pub(super) fn needed_parts_are_declared(request: &Request) -> Vec<Problem> {
    let architecture = request.architecture;
    let missing = architecture
        .parts
        .iter()
        .filter(|part| part.required && !request.parts.iter().any(|name| name == part.name));
    missing
        .map(|part| {
            let (name, task) = (part.name, part.task.name);
            let message = format!(
                "the architecture `{}` needs the part `{name}`; write `{name} = ...` with the name of a pipeline that does `{task}`",
                architecture.name
            );
            Problem::new(Subject::Part(name.to_owned()), message)
        })
        .collect()
}

/// A parameter is declared once.
pub(super) fn parameters_are_declared_once(request: &Request) -> Vec<Problem> {
    let parameters = &request.parameters;
    let twice = |(index, (name, _)): &(usize, &(String, _))| {
        parameters[..*index].iter().filter(|(before, _)| before == name).count() == 1
    };
    parameters
        .iter()
        .enumerate()
        .filter(twice)
        .map(|(_, (name, _))| {
            Problem::new(
                Subject::Parameter(name.clone()),
                format!("parameter {} is declared twice", quoted(name)),
            )
        })
        .collect()
}

/// A value has its parameter's type and is in its range.
pub(super) fn values_fit_their_parameters(request: &Request) -> Vec<Problem> {
    request
        .parameters
        .iter()
        .filter_map(|(name, value)| {
            let message = request.architecture.parameter(name)?.kind.check(name, value.as_ref()?).err()?;
            Some(Problem::new(Subject::Parameter(name.clone()), message))
        })
        .collect()
}

/// An image is drawn as latents, each of which stands for a square of 8 by 8 pixels.
pub(super) fn sides_are_multiples_of_eight(request: &Request) -> Vec<Problem> {
    let sides = ["width", "height"].into_iter().filter_map(|name| Some((name, request.integer(name)?)));
    sides
        .filter(|(_, side)| *side >= 8 && side % 8 != 0)
        .map(|(name, side)| {
            let below = side - side % 8;
            let message =
                format!("`{name}` is {side}, which is not a multiple of 8; write {below} or {}", below + 8);
            Problem::new(Subject::Parameter(name.to_owned()), message)
        })
        .collect()
}
