//! The number formats that weights are stored and computed in.

use serde::{Serialize, Serializer};

/// A number format, with the names that safetensors, `config.json` and a declaration use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit IEEE floating point.
    F32,
    /// 16-bit brain floating point: the range of `f32` with 8 bits of precision.
    BF16,
    /// 16-bit IEEE floating point.
    F16,
}

impl DType {
    /// Every dtype that a declaration may ask for.
    pub const ALL: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

    /// The name in a declaration and on the command line: `f32`, `bf16`, `f16`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::BF16 => "bf16",
            DType::F16 => "f16",
        }
    }

    /// Bytes of one number.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::BF16 | DType::F16 => 2,
        }
    }

    /// Reads a name as a declaration writes it, or as `config.json` does (`float32`, `bfloat16`, `float16`).
    pub fn from_name(name: &str) -> Option<DType> {
        match name {
            "f32" | "float32" => Some(DType::F32),
            "bf16" | "bfloat16" => Some(DType::BF16),
            "f16" | "float16" => Some(DType::F16),
            _ => None,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Written by its name. By hand, as the derive would take longer to build than the rest of this crate.
impl Serialize for DType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
