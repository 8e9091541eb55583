//! A network with what reads and writes its text.

use super::{LanguageModel, Prompt};
use crate::checkpoint::CheckpointFiles;
use crate::error::Result;
use crate::layers::Weights;
use crate::models::decoder::Head;
use crate::progress::Progress;
use crate::stage::LoadOptions;
use crate::text::{GenerationConfig, Tokenizer};

/// A loaded network of a checkpoint, its tokenizer, and how it wants to generate.
#[derive(Debug)]
pub struct LoadedModel<N> {
    pub(in crate::arch) network: N,
    pub(in crate::arch) tokenizer: Tokenizer,
    pub(in crate::arch) generation: GenerationConfig,
}

impl<N: LanguageModel> LoadedModel<N> {
    /// Reads all of it. `load` makes the network of `layers` layers, and calls its last argument with those that are
    /// there.
    ///
    /// # Errors
    /// A file is missing or wrong, or a device has no room.
    pub(in crate::arch) fn read(
        checkpoint: &CheckpointFiles,
        options: &LoadOptions,
        layers: usize,
        load: impl FnOnce(&Weights<'_>, Head, &mut dyn FnMut(usize)) -> Result<N>,
    ) -> Result<LoadedModel<N>> {
        let facts = checkpoint.facts();
        let tokenizer = Tokenizer::from_directory(facts.directory())?;
        let generation = GenerationConfig::from_directory(facts.directory())?;
        let head = facts.head()?;
        let mut progress = Progress::new("loading", layers, options.progress);
        let weights =
            Weights::new(checkpoint, options.dtype).quantized(options.quantization).on(&options.device)?;
        let network = load(&weights, head, &mut |done| progress.set(done))?;
        Ok(LoadedModel { network, tokenizer, generation })
    }

    /// The network.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A prompt in tokens, with the special tokens that the tokenizer or the chat template adds.
    pub(in crate::arch) fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        prompt.encode(&self.tokenizer, self.network.context(), self.network.vocabulary())
    }
}
