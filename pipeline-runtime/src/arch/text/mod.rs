//! Dense transformers that read and write text.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | what both tasks share |
//! | `generation.rs` | `text-generation`: the four stages |
//! | `features.rs` | `feature-extraction`: the four stages |

mod features;
mod generation;

use pipeline_schema::models::ModelConfig;

use super::generation::LoadedModel;
use crate::checkpoint::CheckpointFiles;
use crate::error::{Error, Result};
use crate::models::decoder::Decoder;
use crate::stage::LoadOptions;

pub use super::features::{Features, RawFeatures};
pub use super::generation::{
    FinishReason, GenerationParameters as TextParameters, Prompt, RawGeneration, TextDelta, TokenSequences,
    Usage,
};
pub use generation::{Generation, GenerationPlan, GenerationSession};

/// The architecture of dense transformers.
#[derive(Debug, Clone, Copy)]
pub enum Text {}

/// A loaded transformer with what reads and writes its text.
pub type TextModel = LoadedModel<Decoder>;

impl TextModel {
    fn load(checkpoint: &CheckpointFiles, options: &LoadOptions) -> Result<TextModel> {
        let config = match checkpoint.facts().model().map_err(|problems| Error::Rules { problems })? {
            ModelConfig::Decoder(config) => config,
            other => {
                let model_type = other.model_type();
                return Err(Error::input(format!("`{model_type}` is no dense transformer of text")));
            }
        };
        LoadedModel::read(checkpoint, options, config.num_hidden_layers, |weights, head, loaded| {
            Decoder::load(weights, config, head, |done, _| loaded(done))
        })
    }

    fn parameters(&self) -> TextParameters {
        TextParameters::new(&self.generation)
    }
}
