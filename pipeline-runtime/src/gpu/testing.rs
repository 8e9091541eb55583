//! For tests and `pipelines doctor`: the devices that are there.

use std::env;
use std::fmt::Display;

use pipeline_schema::Hardware;

use super::Device;

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
