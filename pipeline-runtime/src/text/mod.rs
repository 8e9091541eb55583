//! Tokens, chat templates, sampling, streaming.

mod files;
mod generation_config;
mod sampling;
mod stop;

pub use generation_config::GenerationConfig;
pub use sampling::{Sampled, Sampler, SamplingParameters};
pub use stop::{StopOutcome, StopStrings};
