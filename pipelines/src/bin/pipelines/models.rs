//! `pipelines models`

use std::io::Write;

use pipelines::schema::{ARCHITECTURES, ArchitectureSpec};
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
        Some(name) => match pipelines::schema::arch::find(name) {
            Some(architecture) => vec![architecture],
            None => {
                let names = ARCHITECTURES.iter().map(|architecture| architecture.name);
                let instead = pipelines::schema::suggest::instead(name, names);
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
    let bold = anstyle::Style::new().bold();
    for architecture in architectures {
        writeln!(out, "{bold}{}{bold:#}  {}", architecture.name, architecture.description)?;
        writeln!(out, "  also written  {}", architecture.aliases.join(", "))?;
        writeln!(out, "  model types   {}", architecture.model_types.join(", "))?;
        for (index, task) in architecture.tasks.iter().enumerate() {
            let label = if index == 0 { "tasks" } else { "" };
            writeln!(out, "  {label:<12}  {:<20} {}", task.name, task.description)?;
        }
        for (index, parameter) in architecture.parameters.iter().enumerate() {
            let label = if index == 0 { "parameters" } else { "" };
            let description = parameter.description;
            writeln!(out, "  {label:<12}  {:<20} {description} [{}]", parameter.name, parameter.default)?;
        }
    }
    Ok(())
}

fn describe(architecture: &ArchitectureSpec) -> serde_json::Value {
    let parameters = architecture.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "default": parameter.default,
            "description": parameter.description,
        })
    });
    json!({
        "architecture": architecture.name,
        "aliases": architecture.aliases,
        "description": architecture.description,
        "model_types": architecture.model_types,
        "tasks": architecture.tasks.iter().map(|task| task.name).collect::<Vec<_>>(),
        "parameters": parameters.collect::<Vec<_>>(),
    })
}
