//! Options that several commands share.

use clap::ValueEnum;
use pipelines::DType;

/// What a command gives back, or what to tell the user.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The number format of the weights.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum WeightFormat {
    /// 32-bit floating point
    F32,
    /// 16-bit brain floating point
    Bf16,
    /// 16-bit IEEE floating point; the processor widens it to f32
    F16,
}

impl From<WeightFormat> for DType {
    fn from(format: WeightFormat) -> DType {
        match format {
            WeightFormat::F32 => DType::F32,
            WeightFormat::Bf16 => DType::BF16,
            WeightFormat::F16 => DType::F16,
        }
    }
}
