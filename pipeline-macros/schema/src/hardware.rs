//! Where a pipeline may run.

use serde::{Serialize, Serializer};

use crate::dtype::DType;
use crate::suggest;

/// A kind of hardware, in the words of `hardware = [...]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hardware {
    /// The processor, with AVX-512, AVX2 or portable kernels chosen at run time.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An AMD GPU.
    Rocm,
}

/// Hardware that other tools know and this one does not: named so that the error can say so.
pub const FOREIGN: [&str; 9] = ["metal", "mps", "openvino", "qnn", "webgpu", "wgpu", "vulkan", "tpu", "npu"];

/// Words for hardware that several makers have.
const VAGUE: [&str; 3] = ["gpu", "gpus", "accelerator"];

impl Hardware {
    /// Every kind of hardware there is.
    pub const ALL: [Hardware; 3] = [Hardware::Cpu, Hardware::Cuda, Hardware::Rocm];

    /// Its place in [`Hardware::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in a declaration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Hardware::Cpu => "cpu",
            Hardware::Cuda => "cuda",
            Hardware::Rocm => "rocm",
        }
    }

    /// What it is, in a few words.
    pub const fn description(self) -> &'static str {
        match self {
            Hardware::Cpu => "the processor",
            Hardware::Cuda => "an NVIDIA GPU",
            Hardware::Rocm => "an AMD GPU",
        }
    }

    /// The dtypes that models compute in there.
    pub const fn dtypes(self) -> &'static [DType] {
        match self {
            Hardware::Cpu => &[DType::F32, DType::BF16],
            Hardware::Cuda | Hardware::Rocm => &DType::ALL,
        }
    }

    /// Reads a name, an alias included (`hip` and `amd` for `rocm`, `nvidia` for `cuda`).
    ///
    /// The error says what to write instead.
    ///
    /// ```
    /// use pipeline_schema::Hardware;
    /// assert_eq!(Hardware::from_name("nvidia"), Ok(Hardware::Cuda));
    /// assert_eq!(
    ///     Hardware::from_name("gpu").unwrap_err(),
    ///     "hardware `gpu` does not say whose; expected `cuda` for NVIDIA or `rocm` for AMD",
    /// );
    /// ```
    pub fn from_name(name: &str) -> Result<Hardware, String> {
        match name {
            "cpu" => Ok(Hardware::Cpu),
            "cuda" | "nvidia" => Ok(Hardware::Cuda),
            "rocm" | "hip" | "amd" => Ok(Hardware::Rocm),
            _ => {
                let names = Hardware::ALL.map(Hardware::name);
                Err(if VAGUE.contains(&name) {
                    format!(
                        "hardware `{name}` does not say whose; expected `cuda` for NVIDIA or `rocm` for AMD"
                    )
                } else if FOREIGN.contains(&name) {
                    format!("hardware `{name}` is not supported; {}", suggest::one_of(names))
                } else {
                    format!("unknown hardware `{name}`; {}", suggest::instead(name, names))
                })
            }
        }
    }
}

impl std::fmt::Display for Hardware {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Written by its name. By hand, as the derive would take longer to build than the rest of this crate.
impl Serialize for Hardware {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
