//! Generating text token by token: what all architectures with a language model share.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | prompts, plans, results, and the model as generation drives it |
//! | `model.rs` | a loaded model: its network and its tokenizer |
//! | `parameters.rs` | what is adjustable, and the plan that follows from it |
//! | `session.rs` | a running generation: prompts are read, tokens chosen, texts grown |
//! | `steps.rs` | the same steps on a GPU, recorded once and replayed |

mod model;
mod parameters;
mod session;
mod steps;

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gpu::{Buffer, Device, Fetched};
use crate::layers::{Batch, DeviceBatch, KvCache};
use crate::tensor::Tensor;
use crate::text::{Message, SamplingParameters, Tokenizer};

pub use model::LoadedModel;
pub use parameters::GenerationParameters;
pub use session::Session;

/// What a model that reads text takes: a text to continue, or a conversation to answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text, taken as it is.
    Text(String),
    /// A conversation, put into the form of the checkpoint's chat template.
    Messages(Vec<Message>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Prompt {
        Prompt::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Prompt {
        Prompt::Text(text)
    }
}

impl From<&String> for Prompt {
    fn from(text: &String) -> Prompt {
        Prompt::Text(text.clone())
    }
}

impl From<Vec<Message>> for Prompt {
    fn from(messages: Vec<Message>) -> Prompt {
        Prompt::Messages(messages)
    }
}

impl Prompt {
    /// The prompt in tokens, with the special tokens that the tokenizer or the chat template adds.
    ///
    /// # Errors
    /// It is empty, longer than the `context`, or has a token beyond the `vocabulary`.
    pub fn encode(&self, tokenizer: &Tokenizer, context: usize, vocabulary: usize) -> Result<Vec<u32>> {
        let tokens = match self {
            Prompt::Text(text) if text.is_empty() => return Err(Error::input("the prompt is empty")),
            Prompt::Text(text) => tokenizer.encode(text, true)?,
            Prompt::Messages(messages) if messages.is_empty() => {
                return Err(Error::input("the conversation has no messages"));
            }
            Prompt::Messages(messages) => {
                let text = tokenizer.apply_chat_template(messages, true)?;
                tokenizer.encode(&text, false)?
            }
        };
        if tokens.is_empty() {
            return Err(Error::input("the prompt has no tokens"));
        }
        if tokens.len() > context {
            let message = format!(
                "the prompt has {} tokens, but the context of the model is {context} \
                 (config.json: max_position_embeddings); shorten the prompt",
                tokens.len()
            );
            return Err(Error::Input(message));
        }
        match tokens.iter().find(|&&token| token as usize >= vocabulary) {
            None => Ok(tokens),
            Some(token) => Err(Error::Tokenizer(format!(
                "token {token} is outside the vocabulary of {vocabulary} tokens (config.json: vocab_size)"
            ))),
        }
    }
}

/// Prompts as tokens.
#[derive(Clone, Debug)]
pub struct TokenSequences {
    /// For each input its tokens, special tokens included.
    pub sequences: Vec<Vec<u32>>,
    /// For each input whether its text is continued; a conversation is answered instead.
    pub continues: Vec<bool>,
}

/// What was decided before the first token.
#[derive(Clone, Debug)]
pub struct GenerationPlan<P> {
    /// How tokens go through the model, where there is a choice: in a mixture of experts how they are routed.
    pub routing: P,
    /// How the next token is chosen.
    pub sampling: SamplingParameters,
    /// The seed of the first sequence; the next one has the next seed.
    pub seed: u64,
    /// For each sequence, how many tokens there is room and leave for.
    pub max_new_tokens: Vec<usize>,
    /// Texts that end a sequence.
    pub stop: Vec<String>,
    /// Tokens that end a sequence.
    pub end_tokens: Vec<u32>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it.
    EndOfSequence,
    /// A stop text came.
    StopString,
    /// `max_new_tokens` or the model's context was reached.
    Length,
    /// The stream was stopped before.
    Cancelled,
}

/// What the model gave for one input.
#[derive(Clone, Debug)]
pub struct RawGeneration<R> {
    /// The tokens of the input.
    pub prompt: Vec<u32>,
    /// The generated tokens, an end token included.
    pub tokens: Vec<u32>,
    /// The log-probability of each generated token under the model's own distribution.
    pub log_probabilities: Vec<f32>,
    /// The generated text, up to a stop text.
    pub completion: String,
    /// Whether the text of the input belongs before it.
    pub continues: bool,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The seed it was drawn with.
    pub seed: u64,
    /// What the model's passes told of its tokens: in a mixture of experts the router's decisions.
    pub record: R,
}

impl<R> RawGeneration<R> {
    /// The whole text: the prompt and its continuation, or the answer to a conversation.
    ///
    /// # Errors
    /// The prompt has tokens that the tokenizer does not know.
    pub fn text(&self, tokenizer: &Tokenizer) -> Result<String> {
        Ok(match self.continues {
            true => tokenizer.decode(&self.prompt, true)? + &self.completion,
            false => self.completion.clone(),
        })
    }

    /// Tokens read and written.
    pub fn usage(&self) -> Usage {
        Usage { prompt_tokens: self.prompt.len(), completion_tokens: self.tokens.len() }
    }
}

/// Tokens read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Generated tokens.
    pub completion_tokens: usize,
}

/// What one step adds to a streamed text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextDelta {
    /// Text that became certain: it may be empty, and never ends within a character.
    pub text: String,
    /// The token of this step.
    pub token: u32,
    /// Why the generation ended, in its last step.
    pub finish_reason: Option<FinishReason>,
}

/// How the steps of a generation on a GPU run.
#[derive(Clone, Copy, Debug)]
pub struct StepStatistics {
    /// Launches and copies of a recorded step; `None` where steps are not recorded.
    pub launches: Option<usize>,
    /// How long the host has waited for the device so far.
    pub waited: Duration,
}

/// A language model as generation drives it.
pub trait LanguageModel: Sync {
    /// How tokens go through it, where there is a choice.
    type Policy: Send + Sync;
    /// What a pass tells beside its hidden states, where the model is.
    type Trace: Trace;

    /// The longest sequence, in tokens.
    fn context(&self) -> usize;

    /// Tokens that it knows.
    fn vocabulary(&self) -> usize;

    /// The GPU that it is on, `None` on the processor.
    fn device(&self) -> Option<&Device>;

    /// Whether a step with this policy can be recorded once and replayed: nothing in it is decided on the processor.
    fn is_replayable(&self, policy: &Self::Policy) -> bool;

    /// An empty cache for `slots` sequences of at most `tokens` tokens.
    ///
    /// # Errors
    /// The device has no room.
    fn cache(&self, slots: usize, tokens: usize) -> Result<KvCache>;

    /// Takes the batch to where the model is, with the tokens of its rows, and embeds them: `(tokens, hidden_size)`.
    ///
    /// # Errors
    /// A token outside the vocabulary, or a device without room.
    fn embed(&self, batch: &mut Batch, tokens: &[u32]) -> Result<Tensor>;

    /// Embeds the tokens of a batch that is where the model is already.
    ///
    /// # Errors
    /// The device has no room.
    fn embed_on(&self, batch: &DeviceBatch) -> Result<Tensor>;

    /// All layers and the last norm over the embedded tokens of `batch`, `(tokens, hidden_size)`.
    ///
    /// # Errors
    /// The shapes do not fit each other, or a device has no room.
    fn pass(
        &self,
        embedded: Tensor,
        batch: &Batch,
        cache: &mut KvCache,
        policy: &Self::Policy,
    ) -> Result<(Tensor, Self::Trace)>;

    /// Logits over the vocabulary, of hidden states.
    ///
    /// # Errors
    /// The model has no head for them.
    fn logits(&self, hidden: &Tensor) -> Result<Tensor>;
}

/// What a pass tells beside its hidden states.
pub trait Trace: Send {
    /// The same on the processor.
    type OnHost;

    /// The parts of it on a GPU, to be fetched together with the tokens of a step.
    fn parts(&self) -> Vec<Buffer>;

    /// What was fetched of the parts, in their order.
    ///
    /// # Errors
    /// A size does not fit.
    fn fetched(&self, bytes: &mut Fetched<'_>) -> Result<Self::OnHost>;

    /// What it is, waiting for the device that it is on.
    ///
    /// # Errors
    /// Work on the device failed.
    fn into_host(self) -> Result<Self::OnHost>;
}

/// What is kept for a sequence of what passes told of its tokens.
pub trait Record<T: Trace>: Send {
    /// Adds the rows of one sequence in a pass.
    ///
    /// # Errors
    /// The trace cannot be read.
    fn extend(&mut self, trace: &T::OnHost, rows: Range<usize>) -> Result<()>;
}

/// A model whose passes tell nothing.
impl Trace for () {
    type OnHost = ();

    fn parts(&self) -> Vec<Buffer> {
        Vec::new()
    }

    fn fetched(&self, _: &mut Fetched<'_>) -> Result<()> {
        Ok(())
    }

    fn into_host(self) -> Result<()> {
        Ok(())
    }
}

impl Record<()> for () {
    fn extend(&mut self, (): &(), _: Range<usize>) -> Result<()> {
        Ok(())
    }
}
