//! Dense transformers that read and write text.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | the loaded model, what both tasks share |
//! | `generation.rs` | `text-generation`: the four stages |
//! | `features.rs` | `feature-extraction`: the four stages |

mod features;
mod generation;

use pipeline_schema::models::ModelConfig;

use crate::checkpoint::CheckpointFiles;
use crate::error::{Error, Result};
use crate::layers::Weights;
use crate::models::decoder::Decoder;
use crate::progress::Progress;
use crate::stage::LoadOptions;
use crate::text::{GenerationConfig, Tokenizer};

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
#[derive(Debug)]
pub struct TextModel {
    network: Decoder,
    tokenizer: Tokenizer,
    generation: GenerationConfig,
}

impl TextModel {
    fn load(checkpoint: &CheckpointFiles, options: &LoadOptions) -> Result<TextModel> {
        let facts = checkpoint.facts();
        let config = match facts.model().map_err(|problems| Error::Rules { problems })? {
            ModelConfig::Decoder(config) => config,
            other => {
                let model_type = other.model_type();
                return Err(Error::input(format!("`{model_type}` is no dense transformer of text")));
            }
        };
        let tokenizer = Tokenizer::from_directory(facts.directory())?;
        let generation = GenerationConfig::from_directory(facts.directory())?;
        let head = facts.head()?;
        let mut progress = Progress::new("loading", config.num_hidden_layers, options.progress);
        let weights =
            Weights::new(checkpoint, options.dtype).quantized(options.quantization).on(&options.device)?;
        let network = Decoder::load(&weights, config, head, |done, _| progress.set(done))?;
        Ok(TextModel { network, tokenizer, generation })
    }

    fn parameters(&self) -> TextParameters {
        TextParameters::new(&self.generation)
    }

    /// The network.
    pub fn network(&self) -> &Decoder {
        &self.network
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A prompt in tokens, with the special tokens that the tokenizer or the chat template adds.
    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let config = self.network.config();
        prompt.encode(&self.tokenizer, config.context(), config.vocab_size)
    }
}
