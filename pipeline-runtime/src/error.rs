//! What can go wrong, grouped by cause. Each message is one line and says what to do.

use std::path::{Path, PathBuf};

use pipeline_schema::Problem;

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read and does not hold what it should.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The field, what was expected and what came.
        message: String,
    },
    /// A rule that declaration and checkpoint share does not hold.
    #[error("{0}")]
    Rule(#[from] Problem),
    /// Several rules do not hold.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules {
        /// Every broken rule.
        problems: Vec<Problem>,
    },
    /// No place of those where the model was looked for has it.
    #[error("model `{model}` not found; looked in {}", list_paths(looked_in))]
    ModelNotFound {
        /// The model as declared.
        model: String,
        /// Every directory that was looked at.
        looked_in: Vec<PathBuf>,
    },
    /// None of the declared hardware is present.
    #[error("none of the hardware asked for is available: {}", looked_for.join("; "))]
    NoHardware {
        /// For each kind of hardware, what was looked for.
        looked_for: Vec<String>,
    },
    /// A pipeline that is a part of another could not be loaded.
    #[error("the part `{part}` (`{pipeline}`): {source}")]
    Part {
        /// The key in the declaration.
        part: &'static str,
        /// The pipeline declared for it.
        pipeline: &'static str,
        /// What went wrong with it.
        source: Box<Error>,
    },
    /// A GPU has too little free memory.
    #[error(
        "{device}: out of memory: {message}; load fewer layers, a smaller batch or context, or a smaller `dtype`"
    )]
    OutOfMemory {
        /// The device.
        device: String,
        /// What was asked for and what was free.
        message: String,
    },
    /// A GPU does not answer any more; other pipelines on it are lost too.
    #[error(
        "{device} is lost ({message}); load the pipeline again, and run `pipelines doctor` if it happens again"
    )]
    DeviceLost {
        /// The device.
        device: String,
        /// What the driver said.
        message: String,
    },
    /// A GPU's driver or library refused.
    #[error("{device}: {operation}: {message}; `pipelines doctor` checks driver and libraries")]
    Gpu {
        /// The device.
        device: String,
        /// What was tried.
        operation: String,
        /// What it said.
        message: String,
    },
    /// A kernel does not compile.
    #[error("the `{kernel}` kernels do not compile for {target}: {log}")]
    KernelSource {
        /// The family of kernels.
        kernel: &'static str,
        /// The chip.
        target: String,
        /// What the compiler said, with lines.
        log: String,
    },
    /// The input of a call cannot be processed.
    #[error("{0}")]
    Input(String),
    /// A parameter has a value that it cannot have.
    #[error("{0}")]
    Parameter(String),
    /// The tokenizer refused its input.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template could not be rendered.
    #[error("chat template: {0}")]
    ChatTemplate(String),
    /// A tensor operation got shapes or dtypes that do not fit: a defect of a model, not of its input.
    #[error("{operation}: expected {expected}, found {found}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// What it takes.
        expected: String,
        /// What it got.
        found: String,
    },
    /// A tensor operation of the CPU storage failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// A file that could not be read or written.
    pub fn file(path: impl AsRef<Path>, source: std::io::Error) -> Error {
        Error::File { path: path.as_ref().to_owned(), source }
    }

    /// A file that does not hold what it should.
    pub fn malformed(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::Malformed { path: path.as_ref().to_owned(), message: message.into() }
    }

    /// An input that cannot be processed.
    pub fn input(message: impl Into<String>) -> Error {
        Error::Input(message.into())
    }
}

fn list_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
