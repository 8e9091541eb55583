//! For tests and `pipelines doctor`: the devices that are there.

use pipeline_schema::Hardware;

use super::Device;

/// The first device of `hardware`, or `None` after saying on standard error that the test is skipped.
///
/// # Panics
/// There is none, and the environment's `PIPELINES_REQUIRE` names the hardware: a machine that must have a GPU does
/// not pass without.
pub fn device(hardware: Hardware) -> Option<Device> {
    match Device::open(hardware, 0) {
        Ok(device) => Some(device),
        Err(error) => {
            let required = std::env::var("PIPELINES_REQUIRE").unwrap_or_default();
            let name = hardware.to_string();
            assert!(
                !required.split(',').any(|required| required.trim() == name),
                "PIPELINES_REQUIRE={required}, but {error}"
            );
            eprintln!("skipped: no {} device ({error})", name.to_uppercase());
            None
        }
    }
}
