//! `pipelines prepare`: writes `.pipelines/NAME.json` beside the `Cargo.toml` of every crate that declares a model.

mod declarations;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use pipelines::schema::checkpoint::{Checkpoint, snapshot};

use self::declarations::{Declared, declared_models};
use crate::options::Outcome;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A crate or a workspace: all Rust sources below are searched for `#[pipeline(model = "...")]`
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Write nothing; fail when a snapshot is missing or stale
    #[arg(long)]
    check: bool,
}

/// What there is to do about a snapshot.
enum State {
    /// It says what the checkpoint says.
    Fresh,
    /// The checkpoint is absent, so that there is nothing to compare it with.
    Unverified,
    Stale {
        text: String,
    },
    Missing {
        text: String,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let declared = declared_models(&arguments.directory)?;
    if declared.is_empty() {
        let directory = arguments.directory.display();
        writeln!(
            std::io::stdout(),
            "no `#[pipeline(model = \"...\")]` in the Rust sources below {directory}"
        )?;
        return Ok(());
    }
    let mut faults = 0;
    let mut fault = |line: String| {
        faults += 1;
        eprintln!("{line}");
    };
    for declared in &declared {
        let path = declared.root.join(snapshot::path(&declared.model));
        let shown = path.display();
        match state(declared, &path) {
            Err(error) => fault(error),
            Ok(State::Fresh) => writeln!(std::io::stdout(), "{shown}: up to date")?,
            Ok(State::Unverified) => writeln!(
                std::io::stdout(),
                "{shown}: not compared, as there is no directory `{}`",
                declared.model
            )?,
            Ok(State::Stale { .. }) if arguments.check => {
                fault(format!("{shown}: stale, the checkpoint says otherwise; run `pipelines prepare`"))
            }
            Ok(State::Missing { .. }) if arguments.check => {
                fault(format!("{shown}: missing; run `pipelines prepare`"))
            }
            Ok(State::Stale { text } | State::Missing { text }) => {
                write(&path, &text)?;
                writeln!(std::io::stdout(), "{shown}: written")?;
            }
        }
    }
    if faults == 0 {
        return Ok(());
    }
    let what = if arguments.check { "are not prepared" } else { "could not be prepared" };
    Err(format!("{faults} of {} declared models {what}", declared.len()).into())
}

fn state(declared: &Declared, path: &Path) -> Result<State, String> {
    let Declared { root, model, source } = declared;
    let directory = root.join(model);
    let present = fs::read_to_string(path).ok();
    if !directory.exists() {
        if present.is_none() && !path.exists() {
            return Err(format!("{}: there is no directory {}", source.display(), directory.display()));
        }
        let read = snapshot::read(root, model);
        return read.map(|_| State::Unverified).map_err(|problem| format!("{}: {problem}", root.display()));
    }
    let checkpoint = Checkpoint::read(&directory).map_err(|problem| problem.to_string())?;
    let text = snapshot::write(&checkpoint, model);
    Ok(match present {
        // A checkout may have written the ends of lines in the manner of its system.
        Some(present) if present.replace("\r\n", "\n") == text => State::Fresh,
        None if !path.exists() => State::Missing { text },
        _ => State::Stale { text },
    })
}

/// Writes the file beside its place first, so that a compiler that reads it meanwhile sees the old one or the new one.
fn write(path: &Path, text: &str) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let beside = path.with_extension("json.new");
    fs::create_dir_all(path.parent().expect("a snapshot is in `.pipelines`")).map_err(failed)?;
    fs::write(&beside, text).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    Ok(())
}
