//! What comes before and after a model of text: tokens, chat templates, sampling, streaming.
//!
//! | file | what it does |
//! |---|---|
//! | `tokenizer.rs` | [`Tokenizer`]: text to tokens and back, from the files of a checkpoint |
//! | `detokenizer.rs` | [`Detokenizer`]: tokens to text one by one, never half a character |
//! | `stop.rs` | [`StopStrings`]: ends a text where a stop string begins |
//! | `sampling.rs` | [`Sampler`]: the next token from logits, as `transformers` chooses it |
//! | `chat.rs` | [`ChatTemplate`]: conversations to prompts, in a sandbox |
//! | `generation_config.rs` | [`GenerationConfig`]: the settings that come with a checkpoint |
//! | `files.rs` | reads small untrusted files |
//!
//! A generation goes `encode` (or `apply_chat_template`, then `encode`), then for each step [`Sampler::sample`],
//! [`Detokenizer::push`], [`StopStrings::push`], and at its end the `finish` of the last two in the same order.

mod chat;
mod detokenizer;
mod files;
mod generation_config;
#[cfg(test)]
mod samples;
pub(crate) mod sampling;
mod stop;
mod tokenizer;

pub use chat::{ChatTemplate, Message};
pub use detokenizer::Detokenizer;
pub use generation_config::GenerationConfig;
pub(crate) use sampling::as_written;
pub use sampling::{Sampled, Sampler, SamplingParameters};
pub use stop::{StopOutcome, StopStrings};
pub use tokenizer::Tokenizer;
