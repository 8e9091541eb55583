//! Decoding and prefill of a layer of Mixtral-8x7B's shape, in bf16 and f32.
//!
//! `cargo bench -p pipelines --bench decode`. With `PIPELINES_PEER=PYTHON`, a Python that has torch and transformers, the
//! same model runs there in the same turns. The peer is `transformers_decode.py` beside this file.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let peer = std::env::var_os("PIPELINES_PEER");
    for dtype in ["bf16", "f32"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipelines"));
        command.args(["bench", "--preset", "mixtral-8x7b", "--layers", "1", "--dtype", dtype]);
        if let Some(python) = &peer {
            command.arg("--peer").arg(python);
        }
        match command.status() {
            Ok(status) if status.success() => println!(),
            Ok(_) => return ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{}: {error}", env!("CARGO_BIN_EXE_pipelines"));
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
