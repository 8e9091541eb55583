//! Rules of a declaration alone.

use super::Request;
use crate::arch::ArchitectureSpec;
use crate::parameter::Value;
use crate::problem::{Problem, Subject, quoted};
use crate::suggest;

/// A task is one that the architecture can do.
pub(super) fn task_belongs_to_architecture(
    request: &Request,
    known: &[&ArchitectureSpec],
) -> Option<Problem> {
    let (architecture, task) = (request.architecture, request.task);
    if architecture.tasks.iter().any(|can| can.name == task.name) {
        return None;
    }
    let others: Vec<String> = known
        .iter()
        .filter(|other| other.tasks.iter().any(|can| can.name == task.name))
        .map(|other| format!("`{}`", other.name))
        .collect();
    let of =
        if others.is_empty() { String::new() } else { format!(", it is a task of {}", others.join(", ")) };
    let instead = suggest::one_of(architecture.tasks.iter().map(|can| can.name));
    let message = format!("`{}` cannot do `{}`{of}; {instead}", architecture.name, task.name);
    Some(Problem::new(Subject::Task, message))
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
pub(super) fn hardware_computes_in_dtype(request: &Request) -> Option<Problem> {
    let dtype = request.dtype?;
    let hardware = request.hardware.iter().find(|hardware| !hardware.dtypes().contains(&dtype))?;
    let instead = suggest::one_of(hardware.dtypes().iter().map(|dtype| dtype.name()));
    Some(Problem::new(Subject::Dtype, format!("`{hardware}` cannot compute in `{dtype}`; {instead}")))
}

/// A parameter is one of the architecture's.
pub(super) fn parameters_are_known(request: &Request, known: &[&ArchitectureSpec]) -> Vec<Problem> {
    let architecture = request.architecture;
    let unknown = request.parameters.iter().filter(|(name, _)| architecture.parameter(name).is_none());
    unknown
        .map(|(name, _)| {
            let others: Vec<String> = known
                .iter()
                .filter(|other| other.parameter(name).is_some())
                .map(|other| format!("`{}`", other.name))
                .collect();
            let message = if others.is_empty() {
                let instead =
                    suggest::instead(name, architecture.parameters.iter().map(|parameter| parameter.name));
                format!("unknown parameter {}; {instead}", quoted(name))
            } else {
                format!("`{name}` is a parameter of {}, not of `{}`", others.join(", "), architecture.name)
            };
            Problem::new(Subject::Parameter(name.clone()), message)
        })
        .collect()
}

/// A part is one of the architecture's.
pub(super) fn parts_are_known(request: &Request, known: &[&ArchitectureSpec]) -> Vec<Problem> {
    let architecture = request.architecture;
    let unknown = request.parts.iter().filter(|name| architecture.part(name).is_none());
    unknown
        .map(|name| {
            let others: Vec<String> = known
                .iter()
                .filter(|other| other.part(name).is_some())
                .map(|other| format!("`{}`", other.name))
                .collect();
            let message = if !others.is_empty() {
                format!("`{name}` is a part of {}, not of `{}`", others.join(", "), architecture.name)
            } else if architecture.parts.is_empty() {
                format!(
                    "unknown key {}; an architecture of your own can take pipelines as parts, `{}` takes none",
                    quoted(name),
                    architecture.name
                )
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

/// Greedy decoding draws nothing: with `do_sample = false`, no parameter of sampling is declared.
pub(super) fn greedy_decoding_has_nothing_to_sample(request: &Request) -> Vec<Problem> {
    if request.value("do_sample") != Some(&Value::Boolean(false)) {
        return Vec::new();
    }
    ["temperature", "top_p", "top_k", "min_p"]
        .into_iter()
        .filter(|name| request.declares(name))
        .map(|name| {
            let message = format!("`{name}` has no effect with `do_sample = false`; remove one of the two");
            Problem::new(Subject::Parameter(name.to_owned()), message)
        })
        .collect()
}

/// Only an expert of limited capacity overflows: `overflow` comes with a `capacity_factor`.
pub(super) fn overflow_needs_a_capacity(request: &Request) -> Option<Problem> {
    if !request.declares("overflow") || request.declares("capacity_factor") {
        return None;
    }
    let message = "`overflow` has no effect without a `capacity_factor`; declare both or neither";
    Some(Problem::new(Subject::Parameter("overflow".to_owned()), message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hardware, ParameterKind, ParameterSpec, TaskSpec, arch};

    const DRAWING: TaskSpec =
        TaskSpec { name: "text-to-image", aliases: &[], type_name: "TextToImage", description: "draws" };

    const PAINTER: ArchitectureSpec = ArchitectureSpec {
        name: "diffusion",
        aliases: &[],
        type_name: "Diffusion",
        description: "removes noise",
        tasks: &[&DRAWING],
        parameters: &[ParameterSpec {
            name: "guidance_scale",
            kind: ParameterKind::Float { min: 0.0, max: 100.0 },
            default: "7.5",
            description: "how closely the prompt is followed",
        }],
        parts: &[],
        model_types: &[],
    };

    #[test]
    fn a_task_of_another_architecture_is_said_to_be() {
        let request = Request::new(&arch::MOE, &DRAWING, vec![Hardware::Cpu]);
        assert_eq!(
            task_belongs_to_architecture(&request, &[&arch::MOE, &PAINTER]).unwrap().message,
            "`moe` cannot do `text-to-image`, it is a task of `diffusion`; \
             expected one of `text-generation`, `feature-extraction`"
        );
    }

    #[test]
    fn a_parameter_of_another_architecture_is_said_to_be() {
        let mut request = Request::new(&arch::MOE, arch::MOE.default_task(), vec![Hardware::Cpu]);
        request.parameters.push(("guidance_scale".to_owned(), None));
        assert_eq!(
            parameters_are_known(&request, &[&arch::MOE, &PAINTER])[0].message,
            "`guidance_scale` is a parameter of `diffusion`, not of `moe`"
        );
    }
}
