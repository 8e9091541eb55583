//! What a pipeline can run on: which hardware is present, and the device that was chosen.

use std::fmt;
use std::str::FromStr;

use pipeline_schema::Hardware;

use crate::error::{Error, Result};
use crate::gpu;

/// A device by name: hardware and, where there are several, which: `cpu`, `cuda`, `cuda:1`, `rocm:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId {
    /// The hardware.
    pub hardware: Hardware,
    /// Which of the devices of this hardware, from 0.
    pub ordinal: u32,
}

impl From<Hardware> for DeviceId {
    fn from(hardware: Hardware) -> DeviceId {
        DeviceId { hardware, ordinal: 0 }
    }
}

impl FromStr for DeviceId {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceId, String> {
        let Some((name, number)) = text.split_once(':') else { return Ok(Hardware::from_name(text)?.into()) };
        let hardware = Hardware::from_name(name)?;
        match number.parse() {
            Ok(_) if hardware == Hardware::Cpu => {
                Err("there is one `cpu`; write it without a number".to_owned())
            }
            Ok(ordinal) => Ok(DeviceId { hardware, ordinal }),
            Err(_) => {
                Err(format!("`{number}` is no number of a device; expected `{name}:0`, `{name}:1`, ..."))
            }
        }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hardware, self.ordinal) {
            (hardware, 0) => hardware.fmt(formatter),
            (hardware, ordinal) => write!(formatter, "{hardware}:{ordinal}"),
        }
    }
}

/// A device that is open. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A GPU.
    Gpu(gpu::Device),
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    /// [`Error::NoHardware`] when it is not there or cannot be used, saying what was looked for.
    pub fn open(id: DeviceId) -> Result<Device> {
        match id.hardware {
            Hardware::Cpu => Ok(Device::Cpu),
            Hardware::Cuda | Hardware::Rocm => Ok(Device::Gpu(gpu::Device::open(id.hardware, id.ordinal)?)),
        }
    }

    /// Opens the first of `wanted` that is present.
    ///
    /// # Errors
    /// [`Error::NoHardware`] when none is, saying for each what was looked for.
    pub fn first_present(wanted: &[DeviceId]) -> Result<Device> {
        if wanted.is_empty() {
            return Err(Error::Parameter(
                "no hardware is named; expected one of `cpu`, `cuda`, `rocm`".to_owned(),
            ));
        }
        let mut missing = Vec::new();
        for &id in wanted {
            match Device::open(id) {
                Err(Error::NoHardware { looked_for }) => missing.extend(looked_for),
                other => return other,
            }
        }
        Err(Error::NoHardware { looked_for: missing })
    }

    /// Which hardware it is.
    pub fn hardware(&self) -> Hardware {
        match self {
            Device::Cpu => Hardware::Cpu,
            Device::Gpu(device) => device.hardware(),
        }
    }

    /// The GPU, if it is one.
    pub fn gpu(&self) -> Option<&gpu::Device> {
        match self {
            Device::Cpu => None,
            Device::Gpu(device) => Some(device),
        }
    }

    /// Whether weights of so many bytes fit now; on the processor the system decides while they are read.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when they do not.
    pub fn check_room(&self, bytes: u64) -> Result<()> {
        let Device::Gpu(device) = self else { return Ok(()) };
        let (free, total) = device.memory()?;
        if bytes <= free {
            return Ok(());
        }
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        Err(Error::OutOfMemory {
            device: device.to_string(),
            message: format!(
                "the weights need {:.2} GB, and {:.2} of {:.2} GB are free",
                gigabytes(bytes),
                gigabytes(free),
                gigabytes(total)
            ),
        })
    }
}

/// Why `hardware` cannot be used on this machine; `None` when it can.
pub fn obstacle(hardware: Hardware) -> Option<String> {
    match Device::open(hardware.into()) {
        Ok(_) => None,
        Err(Error::NoHardware { looked_for }) => Some(looked_for.join("; ")),
        Err(other) => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written_by_name() {
        for name in ["cpu", "cuda", "rocm", "cuda:1", "rocm:12"] {
            assert_eq!(name.parse::<DeviceId>().unwrap().to_string(), name);
        }
        assert_eq!("cuda:0".parse::<DeviceId>().unwrap(), Hardware::Cuda.into());
        let wrong = ["", "gpu", "metal", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "cuda:1:2", "CUDA"];
        for name in wrong {
            assert!(name.parse::<DeviceId>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_first_device_that_is_present_is_opened() {
        let device = Device::first_present(&[Hardware::Rocm.into(), Hardware::Cpu.into()]);
        assert!(device.is_ok(), "{device:?}");
        let far = DeviceId { hardware: Hardware::Cuda, ordinal: 4_000_000 };
        let Err(Error::NoHardware { looked_for }) = Device::first_present(&[far]) else {
            panic!("there is no such device");
        };
        assert_eq!(looked_for.len(), 1);
        assert!(looked_for[0].starts_with("`cuda`: "), "{looked_for:?}");
    }
}
