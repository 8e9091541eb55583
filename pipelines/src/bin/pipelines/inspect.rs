//! `pipelines inspect`

use std::io::Write;
use std::path::PathBuf;

use pipelines::inspect::Inspection;

use crate::options::Outcome;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The checkpoint: a directory in the layout of Hugging Face
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let inspection = Inspection::of(&arguments.model)?;
    if arguments.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&inspection)?)?;
    } else {
        write!(std::io::stdout(), "{inspection}")?;
    }
    if inspection.problems.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{}: the checkpoint breaks {} rules",
            arguments.model.display(),
            inspection.problems.len()
        )
        .into())
    }
}
