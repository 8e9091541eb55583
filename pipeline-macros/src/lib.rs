//! The `#[pipeline]` attribute: declares an inference pipeline and checks it while compiling.
//!
//! Use it through the crate `pipelines`, which re-exports it beside everything that generated code refers to.

mod attribute;
mod checkpoints;
mod error;
mod expand;
mod model;
mod parse;
#[cfg(test)]
mod tests;
mod validate;
mod words;

use proc_macro::TokenStream;

/// Declares an inference pipeline.
///
/// ```ignore
/// use pipelines::prelude::*;
///
/// /// Tells short stories with a sparse mixture of experts.
/// #[pipeline(
///     arch = "moe",
///     task = "text-generation",
///     hardware = [cuda, rocm, cpu],
///     model = "checkpoints/storyteller-moe",
/// )]
/// struct Storyteller {
///     /// Experts each token visits: checked against the checkpoint.
///     #[param(default = 2)]
///     num_active_experts: usize,
///     #[param(default = 0.8, range = 0.1..=1.5)]
///     temperature: f32,
/// }
/// ```
///
/// The struct stays exactly as written, except that `#[param]` is taken off its fields. It may be generic, have named
/// fields or not, and stand anywhere an item can.
///
/// # Keys
///
/// Words may be bare or in quotes: `arch = moe` and `arch = "moe"` are the same.
///
/// | key | value | without it |
/// |---|---|---|
/// | `arch` | an architecture (`moe`; also `mixture-of-experts`, `sparse`), or the path of a type of your own that implements `pipelines::Architecture` | an error |
/// | `task` | a task of the architecture, as Hugging Face calls it, or the path of a type of your own that implements `pipelines::task::Task` | the architecture's first task; an error for an architecture of your own |
/// | `hardware` | where the pipeline may run, the most wanted first: a list of `cuda` (`nvidia`), `rocm` (`amd`, `hip`) and `cpu`, or one of them | `[cpu]` |
/// | `model` | the directory of a checkpoint in the layout of Hugging Face, relative to the crate's `Cargo.toml`, in quotes | a model is given when the pipeline is loaded: `from_pretrained`, `builder` |
/// | `dtype` | the number format of the weights: `f32`, `bf16`, `f16` | the checkpoint's |
/// | `preprocess`, `route`, `infer`, `format` | the path of a function that does this stage | the architecture does it |
/// | `custom(...)` | stages that you implement yourself | |
/// | `crate` | the path of the crate `pipelines`, where it is re-exported | what `Cargo.toml` calls it: `::pipelines`, or `::pipes` with `pipes = { package = "pipelines", ... }` |
///
/// # Fields
///
/// A field marked `#[param]` sets the parameter of its name for every call; other fields are your own, and start as the
/// `Default` of their type (only `load`, `from_pretrained` and `builder` need that: a struct with a field that has no
/// default is built by hand and loaded with `into_builder().load()`).
///
/// | | |
/// |---|---|
/// | `#[param(default = 0.8)]` | the value to start with: a literal of the parameter's type, a list of texts in brackets |
/// | `#[param(default = 0.8, range = 0.1..=1.5)]` | and the range that the value is held to when the pipeline is loaded, both ends included |
/// | `#[param]` | on an `Option`: unset, it leaves the parameter to the checkpoint or the architecture |
///
/// A whole number sets an integer parameter from `usize`, `u64`, `u32`, `u16` or `u8`, a number from `f32` or `f64`, a
/// text from `String` or `&'static str`, a list of texts from `Vec<String>`, each also from an `Option` of it.
///
/// # Stages
///
/// The attribute implements `Declaration` and the stages `Preprocess`, `Route`, `Infer` and `Format`, each in one line
/// that calls the architecture. A stage is overridden with a function, or with an impl where it needs more, such as
/// another type of output:
///
/// ```ignore
/// #[pipeline(arch = moe, route = by_length, custom(format))]
/// struct Storyteller;
///
/// fn by_length(
///     declaration: &Storyteller,
///     call: &CallOf<'_, Storyteller>,
///     prepared: &PreparedOf<Storyteller>,
/// ) -> Result<PlanOf<Storyteller>> {
///     // Change what the architecture decides, or decide anew.
///     pipelines::declared::route::<Storyteller>(call, prepared)
/// }
///
/// impl Format for Storyteller {
///     type Output = String;
///
///     fn format(&self, call: &CallOf<'_, Self>, raw: RawOf<Self>) -> Result<Vec<String>> {
///         let stories = pipelines::declared::format::<Self>(call, raw)?;
///         Ok(stories.into_iter().map(|story| story.text).collect())
///     }
/// }
/// ```
///
/// A pipeline whose `infer` is overridden cannot be streamed.
///
/// # What is checked
///
/// The words, the parameters, their types, defaults and ranges, and what contradicts itself (`do_sample = false` with a
/// `temperature`). An architecture, task or parameter that is planned and not there yet is said to be so, and the rest of
/// its declaration is checked all the same. Where `model` names a directory, its `config.json`, the headers of its safetensors files and the size
/// of its tokenizer are read, never a weight: the model belongs to the architecture and can do the task, every tensor is
/// there in its shape, and no parameter asks for more than the checkpoint has:
///
/// ```text
/// error: `num_active_experts` is 9, but the checkpoint has 8 experts
///          checkpoints/storyteller-moe/config.json: num_local_experts = 8
///   --> src/main.rs:11:23
///    |
/// 11 |     #[param(default = 9)]
///    |                       ^
/// ```
///
/// The loader applies the same rules to what it finds. Editing `config.json` compiles the declaration again; weights
/// with another header than the one that was checked are refused when the pipeline is loaded.
///
/// Where the directory is absent, as in a checkout without the weights, the declaration is checked against its snapshot by
/// the same rules: `.pipelines/NAME.json` beside `Cargo.toml`, where `NAME` is the path with `--` for each `/`. It is
/// written by `pipelines prepare`, committed with the crate, and compared with the checkpoint by
/// `pipelines prepare --check`. A directory that is there is read, whatever is wrong with it. That a directory has come
/// is noticed when the declaration is compiled again for another reason.
///
/// All mistakes of a declaration are reported together, each on its token, and code that uses the pipeline is not
/// reported on top of them.
#[proc_macro_attribute]
pub fn pipeline(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let manifest_directory = std::env::var_os("CARGO_MANIFEST_DIR").map(std::path::PathBuf::from);
    attribute::pipeline(arguments.into(), item.into(), manifest_directory.as_deref()).into()
}

/// The items behind the words of declarations, for `pipelines::__private::words` alone.
#[doc(hidden)]
#[proc_macro]
pub fn __words(_: TokenStream) -> TokenStream {
    words::words().into()
}

/// What an editor finds at the words of a declaration, for generated code alone.
#[doc(hidden)]
#[proc_macro]
pub fn __look_up(attributes: TokenStream) -> TokenStream {
    words::look_up(attributes.into()).into()
}
