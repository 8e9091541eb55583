//! What this machine has to run on, and what is in the way where something cannot be used.

use pipeline_schema::{DType, Hardware};
use serde::Serialize;
use sysinfo::System;

use crate::error::Result;
use crate::gpu::{self, ProductShape, cuda, hip};
use crate::hardware::{Device, DeviceId};
use crate::kernels::InstructionSet;
use crate::kernels::check::{Check, Roof, Runs, time};
use crate::kernels::roof::Roofs;

/// A device, or hardware of which none can be used.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its name, as `--device` takes it.
    pub device: String,
    /// What was looked for and not found, or refused; `None` where the device can be used.
    pub obstacle: Option<String>,
    /// What it is, and the versions of what drives it: a name and a value each.
    pub facts: Vec<(&'static str, String)>,
}

/// Looks for everything that a pipeline can run on. A device that can be used comes open.
pub fn examine() -> Vec<(Finding, Option<Device>)> {
    let mut found = vec![(processor(), Some(Device::Cpu))];
    for hardware in [Hardware::Cuda, Hardware::Rocm] {
        let counted = if hardware == Hardware::Cuda { cuda::count() } else { hip::count() };
        let unusable = |id: DeviceId, obstacle: String| {
            (Finding { device: id.to_string(), obstacle: Some(obstacle), facts: Vec::new() }, None)
        };
        match counted {
            Err(obstacle) => found.push(unusable(hardware.into(), obstacle)),
            Ok(0) => found.push(unusable(hardware.into(), "the driver is there, and no GPU".to_owned())),
            Ok(count) => found.extend((0..count).map(|ordinal| {
                let id = DeviceId { hardware, ordinal };
                match gpu::Device::open(hardware, ordinal) {
                    Ok(device) => (gpu_finding(id, &device), Some(Device::Gpu(device))),
                    Err(error) => unusable(id, error.to_string()),
                }
            })),
        }
    }
    found
}

fn processor() -> Finding {
    let mut facts = vec![
        ("threads", rayon::current_num_threads().to_string()),
        ("instructions", InstructionSet::detected().name().to_owned()),
    ];
    if let Ok(mut system) = System::new() {
        system.refresh_memory();
        system.refresh_cpu_all();
        facts.extend(system.cpus().first().map(|cpu| ("name", cpu.brand().trim().to_owned())));
        facts.push(("memory", gigabytes(system.available_memory(), system.total_memory())));
    }
    Finding { device: Hardware::Cpu.to_string(), obstacle: None, facts }
}

fn gpu_finding(id: DeviceId, device: &gpu::Device) -> Finding {
    let chip = device.chip();
    let memory = match device.memory() {
        Ok((free, total)) => gigabytes(free, total),
        Err(error) => error.to_string(),
    };
    let mut facts = vec![
        ("name", chip.name.clone()),
        ("target", chip.target.clone()),
        ("multiprocessors", chip.multiprocessors.to_string()),
        ("memory", memory),
    ];
    facts.extend(chip.versions.iter().cloned());
    Finding { device: id.to_string(), obstacle: None, facts }
}

fn gigabytes(free: u64, total: u64) -> String {
    format!("{:.1} of {:.1} GB free", free as f64 / 1e9, total as f64 / 1e9)
}

/// What a device can do, measured: memory read on the processor, read and written by a copy on a GPU; multiplications
/// and additions by chains in registers on the processor, by matrix products of the vendor's library on a GPU.
///
/// # Errors
/// A GPU has no room, or refuses.
pub fn roof(device: &Device) -> Result<Roof> {
    let device = match device {
        Device::Cpu => {
            let roofs = Roofs::measure();
            let half = roofs.bf16.unwrap_or(roofs.f32);
            return Ok(Roof { bytes: roofs.dram_read * 1e9, f32: roofs.f32 * 1e9, half: half * 1e9 });
        }
        Device::Gpu(device) => device,
    };
    let bytes = 1 << 30;
    let (from, to) = (device.allocate(bytes)?, device.allocate(bytes)?);
    // Zeros may be copied and multiplied faster than numbers are.
    device.fill(&from, 0x3c)?;
    let microseconds = time(device, 5, 8, || device.copy(&to, 0, &from, 0, bytes))?;
    let product = |input: DType, size: usize| -> Result<f64> {
        let shape = ProductShape {
            rows: size,
            in_features: size,
            out_features: size,
            input,
            output: input,
            accumulate: false,
        };
        let part = |index: usize| from.address() + (index * size * size * input.size()) as u64;
        // SAFETY: both factors lie in `from` and the result in `to`, a gigabyte each.
        let run = || unsafe { device.matmul(part(0), part(1), to.address(), shape) };
        Ok(2.0 * (size as f64).powi(3) / (time(device, 5, 4, run)? / 1e6))
    };
    Ok(Roof {
        bytes: 2.0 * bytes as f64 / (microseconds / 1e6),
        f32: product(DType::F32, 4096)?,
        half: product(DType::BF16, 8192)?,
    })
}

/// Runs kernels on a device beside their scalar twins; nothing where there are none for this device.
///
/// # Errors
/// A kernel does not compile, or a GPU refuses.
pub fn check(runs: Runs, device: &Device) -> Result<Vec<Check>> {
    match device {
        Device::Cpu => Ok(runs.cpu.map(|run| run()).unwrap_or_default()),
        Device::Gpu(device) => Ok(runs.gpu.map(|run| run(device)).transpose()?.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_hardware_is_looked_for() {
        let found = examine();
        for hardware in Hardware::ALL {
            let of_it: Vec<_> = found
                .iter()
                .filter(|(finding, _)| finding.device.starts_with(&hardware.to_string()))
                .collect();
            assert!(!of_it.is_empty(), "{hardware}");
            for (finding, device) in of_it {
                assert_eq!(device.is_some(), finding.obstacle.is_none(), "{finding:?}");
                assert_eq!(device.is_some(), !finding.facts.is_empty(), "{finding:?}");
            }
        }
    }
}
