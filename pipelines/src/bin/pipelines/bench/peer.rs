//! The other side: `benches/transformers_decode.py`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pipelines::{DType, DeviceId, Hardware};
use serde_json::Value;

use super::Arguments;
use crate::options::Outcome;

/// The other side: transformers in a process of its own, its model resident.
pub(super) struct Peer {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it says of itself when it is ready.
    about: Value,
}

impl Peer {
    /// Starts it. Its model is not made yet.
    pub(super) fn start(python: &Path, arguments: &Arguments) -> Result<Peer, Box<dyn std::error::Error>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/transformers_decode.py");
        let vocabulary = arguments.vocabulary.map(|tokens| format!("--vocabulary={tokens}"));
        let mut process = Command::new(python)
            .arg(script)
            .args(vocabulary)
            .args(["--serve", "--preset", arguments.preset.name()])
            .args(["--layers", &arguments.layers.to_string()])
            .args(["--dtype", DType::from(arguments.dtype).name()])
            .args(["--prompt", &arguments.prompt.to_string()])
            .args(["--device", &torch_device(arguments.device)])
            // Its threads must not spin while it is our turn. It costs the peer nothing on an idle machine.
            .env("OMP_WAIT_POLICY", "passive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", python.display()))?;
        let questions = process.stdin.take().expect("it was asked for");
        let answers = BufReader::new(process.stdout.take().expect("it was asked for"));
        Ok(Peer { process, questions, answers, about: Value::Null })
    }

    /// Waits until it is ready.
    pub(super) fn wait(&mut self) -> Outcome {
        self.about = self.answer()?;
        Ok(())
    }

    /// What it says of itself: versions, threads, and what it runs.
    pub(super) fn about(&self) -> &Value {
        &self.about
    }

    fn answer(&mut self) -> Result<Value, Box<dyn std::error::Error>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("the peer ended: {}", self.process.wait()?).into());
        }
        let answer: Value = serde_json::from_str(&line)?;
        match answer.get("error") {
            Some(error) => Err(format!("the peer: {error}").into()),
            None => Ok(answer),
        }
    }

    /// The milliseconds that the peer took.
    pub(super) fn ask(&mut self, question: &str) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        writeln!(self.questions, "{question}")?;
        let answer = self.answer()?;
        let times = answer.get("ms").and_then(Value::as_array).ok_or("the peer gave no times")?;
        Ok(times.iter().filter_map(Value::as_f64).collect())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Where it ended by itself, there is nobody to ask, and nothing to wait for.
        let _ = writeln!(self.questions, "quit").and_then(|()| self.process.wait());
    }
}

/// PyTorch calls AMD's devices `cuda`, too.
fn torch_device(device: DeviceId) -> String {
    match device.hardware {
        Hardware::Cpu => "cpu".to_owned(),
        Hardware::Cuda | Hardware::Rocm => format!("cuda:{}", device.ordinal),
    }
}
