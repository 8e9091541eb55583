//! The tables and rules of pipelines that compile time and load time share.
//!
//! The macro `#[pipeline]` applies them to a declaration and to the header of its checkpoint; the loader
//! applies the very same functions to what it finds when the program runs. Nothing here reads a weight, and
//! nothing here depends on `syn` or on a tensor library.
//!
//! | module | what it holds |
//! |---|---|
//! | [`arch`] | the architectures: names, aliases, tasks, parameters, model types |
//! | [`task`], [`hardware`], [`dtype`], [`parameter`] | the words that a declaration may use |
//! | [`checkpoint`] | what a checkpoint says of itself: `config.json`, shard index, safetensors headers, tokenizer |
//! | [`models`] | per model type, its configuration and the tensors it must have |
//! | [`rules`] | the rules, a function each |
//! | [`problem`] | what a broken rule says, and about what |

pub mod arch;
pub mod checkpoint;
pub mod dtype;
pub mod hardware;
pub mod models;
pub mod parameter;
pub mod problem;
pub mod rules;
pub mod suggest;
pub mod task;

pub use arch::{ARCHITECTURES, ArchitectureSpec, PartSpec, Runs};
pub use dtype::DType;
pub use hardware::Hardware;
pub use parameter::{ParameterKind, ParameterSpec, Value};
pub use problem::{Problem, Subject};
pub use task::TaskSpec;
