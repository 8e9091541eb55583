//! `pipelines models`

use std::io::Write;

use pipelines::schema::{ARCHITECTURES, ArchitectureSpec, ParameterSpec, arch, suggest};
use serde_json::json;

use crate::options::Outcome;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this architecture
    #[arg(value_name = "ARCH")]
    architecture: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let architectures: Vec<&ArchitectureSpec> = match &arguments.architecture {
        None => ARCHITECTURES.to_vec(),
        Some(name) => match arch::find(name) {
            Some(architecture) => vec![architecture],
            None => {
                let names = ARCHITECTURES.iter().map(|architecture| architecture.name);
                let instead = suggest::instead(name, names);
                return Err(format!("unknown architecture `{name}`; {instead}").into());
            }
        },
    };
    if arguments.json {
        let described: Vec<_> = architectures.iter().map(|architecture| describe(architecture)).collect();
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&described)?)?;
        return Ok(());
    }
    let mut out = anstream::stdout().lock();
    // Of the whole list, what does not run is only named: nobody can use its details yet.
    let one = architectures.len() == 1;
    let (shown, named): (Vec<_>, Vec<_>) =
        architectures.into_iter().partition(|architecture| one || architecture.runs());
    for architecture in shown {
        print(architecture, &mut out)?;
    }
    if !named.is_empty() {
        let names: Vec<&str> = named.iter().map(|architecture| architecture.name).collect();
        writeln!(out, "cannot run yet: {}", names.join(", "))?;
    }
    Ok(())
}

fn print(architecture: &ArchitectureSpec, out: &mut impl Write) -> std::io::Result<()> {
    let bold = anstyle::Style::new().bold();
    writeln!(out, "{bold}{}{bold:#}  {}", architecture.name, architecture.description)?;
    let mut line = |label: &str, text: String| match text.as_str() {
        "" => Ok(()),
        text => writeln!(out, "  {label:<12}  {text}"),
    };
    if !architecture.runs() {
        line("runs", "not yet".to_owned())?;
    }
    line("also written", architecture.aliases.join(", "))?;
    line("model types", architecture.model_types.join(", "))?;
    // Where nothing runs, all is said to be so above.
    let yet = |runs: bool| if runs || !architecture.runs() { "" } else { " (not yet)" };
    for (index, task) in architecture.tasks.iter().enumerate() {
        let label = if index == 0 { "tasks" } else { "" };
        let yet = yet(architecture.runs_task(task));
        line(label, format!("{:<24} {}{yet}", task.name, task.description))?;
    }
    for (index, parameter) in architecture.parameters.iter().enumerate() {
        let label = if index == 0 { "parameters" } else { "" };
        let ParameterSpec { name, description, default, .. } = parameter;
        let yet = yet(architecture.runs_parameter(name));
        line(label, format!("{name:<24} {description} [{default}]{yet}"))?;
    }
    for (index, part) in architecture.parts.iter().enumerate() {
        let label = if index == 0 { "parts" } else { "" };
        line(label, format!("{:<24} {}", part.name, part.description))?;
    }
    Ok(())
}

fn describe(architecture: &ArchitectureSpec) -> serde_json::Value {
    let tasks = architecture.tasks.iter().map(|task| {
        json!({
            "name": task.name,
            "runs": architecture.runs_task(task),
            "description": task.description,
        })
    });
    let parameters = architecture.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "runs": architecture.runs_parameter(parameter.name),
            "default": parameter.default,
            "description": parameter.description,
        })
    });
    json!({
        "architecture": architecture.name,
        "runs": architecture.runs(),
        "aliases": architecture.aliases,
        "description": architecture.description,
        "model_types": architecture.model_types,
        "tasks": tasks.collect::<Vec<_>>(),
        "parameters": parameters.collect::<Vec<_>>(),
        "parts": architecture.parts.iter().map(|part| part.name).collect::<Vec<_>>(),
    })
}
