//! Which hardware is present.

use pipeline_schema::Hardware;

use crate::error::{Error, Result};

/// Whether this machine has `hardware`; the error says what was looked for.
///
/// # Errors
/// The reason why it cannot be used.
pub fn probe(hardware: Hardware) -> Result<(), String> {
    match hardware {
        Hardware::Cpu => Ok(()),
        Hardware::Cuda | Hardware::Rocm => {
            Err(format!("`{hardware}`: this version has no backend for {}", hardware.description()))
        }
    }
}

/// The first of `wanted` that is present.
///
/// # Errors
/// [`Error::NoHardware`] when none is, saying for each what was looked for.
pub fn first_present(wanted: &[Hardware]) -> Result<Hardware> {
    if wanted.is_empty() {
        return Err(Error::Parameter(
            "no hardware is named; expected one of `cpu`, `cuda`, `rocm`".to_owned(),
        ));
    }
    let mut looked_for = Vec::new();
    for &hardware in wanted {
        match probe(hardware) {
            Ok(()) => return Ok(hardware),
            Err(reason) => looked_for.push(reason),
        }
    }
    Err(Error::NoHardware { looked_for })
}
