//! How fast memory is: no decoding step can take less than reading its weights once.

use pipelines::Result;
use pipelines::gpu::{self, Buffer};
use pipelines::hardware::Device;
use pipelines::kernels::roof::RoofProbe;

/// Bytes that a device copies.
const COPIED: usize = 2 << 30;

/// What measures the speed of the memory that the weights are in.
pub(super) enum Roof {
    /// That of the processor: what all threads read.
    Host(RoofProbe),
    /// That of a GPU: what a copy reads and writes.
    Device { device: gpu::Device, from: Buffer, to: Buffer },
}

impl Roof {
    /// The probe of a device.
    pub(super) fn of(device: &Device) -> Result<Roof> {
        let Some(device) = device.gpu() else { return Ok(Roof::Host(RoofProbe::new())) };
        let (from, to) = (device.allocate(COPIED)?, device.allocate(COPIED)?);
        // Zeros may be copied faster than numbers are.
        device.fill(&from, 0x5a)?;
        Ok(Roof::Device { device: device.clone(), from, to })
    }

    /// Gigabytes a second, now.
    pub(super) fn gb_per_s(&self) -> Result<f64> {
        match self {
            Roof::Host(probe) => Ok(probe.dram_read()),
            Roof::Device { device, from, to } => {
                let microseconds =
                    pipelines::kernels::check::time(device, 5, 4, || device.copy(to, 0, from, 0, COPIED))?;
                Ok(2.0 * COPIED as f64 / microseconds / 1e3)
            }
        }
    }

    /// The median of several samples.
    pub(super) fn settled(&self) -> Result<f64> {
        let samples = (0..9).map(|_| self.gb_per_s()).collect::<Result<_>>()?;
        Ok(median(samples).expect("there are several"))
    }

    /// What it measures.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Roof::Host(_) => "DRAM read",
            Roof::Device { .. } => "device copy, read and written,",
        }
    }
}

/// The middle of some numbers; `None` of none.
pub(super) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let length = numbers.len();
    let upper = *numbers.get(length / 2)?;
    Some(if length % 2 == 1 { upper } else { (numbers[length / 2 - 1] + upper) / 2.0 })
}
