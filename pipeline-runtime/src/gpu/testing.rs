//! For tests and `pipelines doctor`: the devices that are there.

use std::env;
use std::fmt::Display;

use half::{bf16, f16};
use pipeline_schema::{DType, Hardware};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{Buffer, Device};
use crate::error::Result;

/// `length` values between -1 and 1.
pub fn random(length: usize, seed: u64) -> Vec<f32> {
    const CHUNK: usize = 1 << 16;
    let mut values = vec![0.0; length];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(chunk as u64);
        values.fill_with(|| generator.random_range(-1.0..1.0));
    });
    values
}

/// A buffer that holds `values` rounded to `dtype`, and those rounded values.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or the driver refuses.
pub fn upload(device: &Device, values: &[f32], dtype: DType) -> Result<(Buffer, Vec<f32>)> {
    match dtype {
        DType::F32 => Ok((device.upload(values)?, values.to_vec())),
        DType::BF16 => {
            let rounded: Vec<bf16> = values.par_iter().map(|&value| bf16::from_f32(value)).collect();
            Ok((device.upload(&rounded)?, rounded.par_iter().map(|value| value.to_f32()).collect()))
        }
        DType::F16 => {
            let rounded: Vec<f16> = values.par_iter().map(|&value| f16::from_f32(value)).collect();
            Ok((device.upload(&rounded)?, rounded.par_iter().map(|value| value.to_f32()).collect()))
        }
    }
}

/// The first `length` numbers of a buffer.
///
/// # Errors
/// The driver refuses, or work before failed.
pub fn download(device: &Device, buffer: &Buffer, length: usize, dtype: DType) -> Result<Vec<f32>> {
    Ok(match dtype {
        DType::F32 => device.read(buffer, 0, length)?,
        DType::BF16 => device.read::<bf16>(buffer, 0, length)?.iter().map(|value| value.to_f32()).collect(),
        DType::F16 => device.read::<f16>(buffer, 0, length)?.iter().map(|value| value.to_f32()).collect(),
    })
}

/// A buffer for `length` numbers that holds none: what a kernel leaves unwritten never passes.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or the driver refuses.
pub fn poisoned(device: &Device, length: usize, dtype: DType) -> Result<Buffer> {
    let buffer = device.allocate(length * dtype.size())?;
    device.fill(&buffer, 0xff)?;
    Ok(buffer)
}

/// By how much rounding to `dtype` and sums in `f32` may differ from the twin, as a share of the largest number.
pub fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 1e-5,
        DType::BF16 => 4.1e-3,
        DType::F16 => 5.2e-4,
    }
}

/// Names the hardware on which tests of kernels run instead of `cuda`: what a kernel computes must not depend on it.
pub const TEST_HARDWARE: &str = "PIPELINES_TEST_HARDWARE";

/// The first device of `hardware` (of [`TEST_HARDWARE`], where that is set), or `None` after saying on standard error
/// that the test is skipped.
///
/// # Panics
/// As [`skip`].
pub fn device(hardware: Hardware) -> Option<Device> {
    let hardware = match env::var(TEST_HARDWARE) {
        Ok(name) => Hardware::from_name(&name).unwrap_or_else(|error| panic!("{TEST_HARDWARE}: {error}")),
        Err(_) => hardware,
    };
    match Device::open(hardware, 0) {
        Ok(device) => Some(device),
        Err(error) => {
            let name = hardware.to_string();
            skip(&name, &format!("{} device", name.to_uppercase()), error);
            None
        }
    }
}

/// Says on standard error that a test is skipped for want of `what`.
///
/// # Panics
/// The environment's `PIPELINES_REQUIRE`, words with commas between them, has `word`: a machine that must have it does
/// not pass without.
pub fn skip(word: &str, what: &str, reason: impl Display) {
    let required = env::var("PIPELINES_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|required| required.trim() == word);
    assert!(!is_required, "PIPELINES_REQUIRE={required}, but {reason}");
    eprintln!("skipped: no {what} ({reason})");
}
