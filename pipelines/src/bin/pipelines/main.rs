//! The `pipelines` command: runs, inspects and measures models without writing a program.

mod bench;
mod doctor;
mod forward;
mod inspect;
mod models;
mod options;
mod prepare;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Declared inference pipelines: run, inspect and measure models.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a checkpoint on a prompt
    Run(run::Arguments),
    /// Runs a model alone: the reference's argument names in, its output names out
    Forward(forward::Arguments),
    /// Says what a checkpoint is, what it can do and how much memory it needs
    Inspect(inspect::Arguments),
    /// Writes a snapshot of each declared model, to compile where the checkpoint is absent
    Prepare(prepare::Arguments),
    /// Lists the architectures with their tasks, parameters and model types
    Models(models::Arguments),
    /// Says what this machine can run on, and tests every kernel on it
    Doctor(doctor::Arguments),
    /// Measures decoding and prefill of a model of real layer shape with random weights
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Forward(arguments) => forward::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Prepare(arguments) => prepare::run(&arguments),
        Command::Models(arguments) => models::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough, such as `head`, is no failure.
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            anstream::eprintln!("{style}error{style:#}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
