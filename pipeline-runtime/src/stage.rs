//! The four stages, what `#[pipeline]` implements for a struct, and the traits that an architecture implements.
//!
//! `Input --preprocess--> Prepared --route--> Plan --infer--> Raw --format--> Output`
//!
//! An [`Architecture`] says what the types between the arrows are and what each arrow does by default. A
//! [`Declaration`] names an architecture, a task, hardware, a model and parameters. The stage traits tie both
//! together: `#[pipeline]` implements each in one line that calls the architecture, unless the user overrides it.
//! Every stage takes a batch; one input is a batch of one.

use std::path::Path;

use pipeline_schema::{DType, Hardware, Value};

use crate::checkpoint::CheckpointFiles;
use crate::error::Result;
use crate::hardware::Device;
use crate::kernels::QuantizedFormat;
use crate::parts::{DeclaredPart, Parts};
use crate::pipeline::{Builder, Pipeline};
use crate::task::Task;

/// What an architecture does for one task, and the types between its stages.
///
/// Implement it for a type of your own to use that type as `arch = crate::MyArchitecture`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot do the task `{T}`",
    label = "not an `Architecture<{T}>`",
    note = "implement `pipelines::Architecture<{T}>` for `{Self}`, or declare another task"
)]
pub trait Architecture<T: Task>: Sized + 'static {
    /// The canonical name, as in `arch = "..."`.
    const NAME: &'static str;

    /// What can be adjusted for a call.
    type Parameters: Parameters;
    /// What a user passes to `run`.
    type Input;
    /// The input in the form that the model takes, as a batch.
    type Prepared;
    /// What was decided before the model runs.
    type Plan;
    /// What the model gives.
    type Raw;
    /// What a user gets.
    type Output;
    /// Weights and everything else that is read once and never changes.
    type Model: Send + Sync;

    /// The pipelines it works with, each in a field that declarations name (`generator = Storyteller`); `()` for none.
    type Parts: Parts;

    /// Loads the model. The rules of `pipeline-schema` hold already where the architecture is one of its table.
    ///
    /// # Errors
    /// The checkpoint is not what the architecture needs.
    fn load(checkpoint: &CheckpointFiles, parts: Self::Parts, options: &LoadOptions) -> Result<Self::Model>;

    /// Makes the model of a pipeline that has no checkpoint, or says with `None` that it needs one.
    ///
    /// An architecture that only joins its parts overrides this.
    ///
    /// # Errors
    /// The parts are not what the architecture needs.
    fn assemble(parts: Self::Parts, options: &LoadOptions) -> Result<Option<Self::Model>> {
        let _ = (parts, options);
        Ok(None)
    }

    /// The parameters before the declaration sets any: the defaults, and what the checkpoint says.
    fn parameters(model: &Self::Model) -> Self::Parameters;

    /// Turns inputs into what the model takes.
    fn preprocess(call: &Call<'_, Self, T>, inputs: Vec<Self::Input>) -> Result<Self::Prepared>;

    /// Decides how the prepared batch goes through the model.
    fn route(call: &Call<'_, Self, T>, prepared: &Self::Prepared) -> Result<Self::Plan>;

    /// Runs the model.
    fn infer(call: &Call<'_, Self, T>, prepared: Self::Prepared, plan: Self::Plan) -> Result<Self::Raw>;

    /// Turns what the model gave into one output per input, in the order of the inputs.
    fn format(call: &Call<'_, Self, T>, raw: Self::Raw) -> Result<Vec<Self::Output>>;
}

/// An architecture whose output arrives in steps, so that it can be streamed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not produce the output of `{T}` in steps",
    label = "cannot be streamed",
    note = "use `run`, which gives the output as a whole"
)]
pub trait Stepwise<T: Task>: Architecture<T> {
    /// What a call mutates: caches, states, random generators. It belongs to one call.
    type Session: Send;
    /// What one step adds to the output.
    type Delta;

    /// Starts a session.
    fn begin(call: &Call<'_, Self, T>, prepared: Self::Prepared, plan: Self::Plan) -> Result<Self::Session>;

    /// Does one step for every input of the batch that is not finished; `None` when all are. The delta is that of the
    /// first of them, so that a batch of one is streamed whole.
    fn step(call: &Call<'_, Self, T>, session: &mut Self::Session) -> Result<Option<Self::Delta>>;

    /// What the model gave in all steps so far. It may be called before the last step.
    fn finish(call: &Call<'_, Self, T>, session: Self::Session) -> Result<Self::Raw>;
}

/// The parameters of an architecture.
pub trait Parameters: Clone + Send + Sync {
    /// Every parameter that has a value, by name, for the rules to check.
    fn values(&self) -> Vec<(&'static str, Value)>;
}

/// One call of a pipeline: the model it runs on and the parameters it runs with.
pub struct Call<'a, A: Architecture<T>, T: Task> {
    /// The loaded model.
    pub model: &'a A::Model,
    /// The parameters of this call.
    pub parameters: A::Parameters,
    /// What the call runs on.
    pub hardware: Hardware,
}

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What it will run on.
    pub device: Device,
    /// The number format of the weights that are not quantised; `None` keeps the checkpoint's.
    pub dtype: Option<DType>,
    /// The format that linear maps are quantised to while they are read; `None` keeps them dense. See
    /// [`Weights::quantized`](crate::layers::Weights::quantized).
    pub quantization: Option<QuantizedFormat>,
    /// Shows a progress bar when standard error is a terminal.
    pub progress: bool,
}

/// Where the model of a declaration is.
#[derive(Clone, Copy, Debug)]
pub struct DeclaredModel {
    /// The path as declared, relative to the declaring crate.
    pub path: &'static str,
    /// The directory of the declaring crate's manifest.
    pub manifest_directory: &'static str,
    /// The hash of the header that was checked while compiling.
    pub header_hash: Option<u64>,
}

/// What `#[pipeline]` implements: everything that a declaration says.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a pipeline",
    label = "not declared with `#[pipeline]`",
    note = "write `#[pipeline(arch = \"...\", hardware = [...])]` on the struct"
)]
pub trait Declaration: Sized {
    /// The architecture.
    type Architecture: Architecture<Self::Task>;
    /// The task.
    type Task: Task;
    /// The name of the struct.
    const NAME: &'static str;
    /// Where the pipeline may run, the most wanted first.
    const HARDWARE: &'static [Hardware];
    /// The model, where one is declared.
    const MODEL: Option<DeclaredModel> = None;
    /// The number format of the weights, where one is declared.
    const DTYPE: Option<DType> = None;
    /// The pipelines that are its parts.
    const PARTS: &'static [DeclaredPart<PartsOf<Self>>] = &[];

    /// Writes the values of the `#[param]` fields into `parameters`.
    fn configure(&self, parameters: &mut ParametersOf<Self>) -> Result<()>;

    /// Loads the declared model on the first declared hardware that is present.
    ///
    /// # Errors
    /// The model is not found, its files are malformed or break a rule, or no declared hardware is present.
    fn load() -> Result<Pipeline<Self>>
    where
        Self: Declared + Stages,
    {
        Self::builder().load()
    }

    /// Loads another model than the declared one: a directory in the layout of Hugging Face.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn from_pretrained(model: impl AsRef<Path>) -> Result<Pipeline<Self>>
    where
        Self: Declared + Stages,
    {
        Self::builder().model(model.as_ref()).load()
    }

    /// Starts from the declared defaults and adjusts how the pipeline is loaded.
    fn builder() -> Builder<Self>
    where
        Self: Declared,
    {
        Builder::new(Self::declared())
    }

    /// Starts from this value of the struct instead of the declared defaults.
    fn into_builder(self) -> Builder<Self> {
        Builder::new(self)
    }
}

/// A declaration whose every field has a default: its `#[param]` fields the declared one, the user's own fields
/// that of their type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a pipeline whose fields all have a default",
    label = "not declared with `#[pipeline]`",
    note = "write `#[pipeline(arch = \"...\", hardware = [...])]` on the struct"
)]
pub trait Declared: Declaration {
    /// The struct with its defaults.
    fn declared() -> Self;
}

/// First stage: inputs to what the model takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` declares `custom(preprocess)`, but does not implement `Preprocess`",
    label = "the `preprocess` stage is missing",
    note = "write `impl Preprocess for {Self} {{ fn preprocess(&self, call: &CallOf<'_, Self>, inputs: Vec<InputOf<Self>>) -> Result<PreparedOf<Self>> {{ ... }} }}`"
)]
pub trait Preprocess: Declaration {
    /// Turns inputs into what the model takes.
    fn preprocess(&self, call: &CallOf<'_, Self>, inputs: Vec<InputOf<Self>>) -> Result<PreparedOf<Self>>;
}

/// Second stage: how the batch goes through the model.
#[diagnostic::on_unimplemented(
    message = "`{Self}` declares `custom(route)`, but does not implement `Route`",
    label = "the `route` stage is missing",
    note = "write `impl Route for {Self} {{ fn route(&self, call: &CallOf<'_, Self>, prepared: &PreparedOf<Self>) -> Result<PlanOf<Self>> {{ ... }} }}`"
)]
pub trait Route: Declaration {
    /// Decides how the prepared batch goes through the model.
    fn route(&self, call: &CallOf<'_, Self>, prepared: &PreparedOf<Self>) -> Result<PlanOf<Self>>;
}

/// Third stage: the model runs.
#[diagnostic::on_unimplemented(
    message = "`{Self}` declares `custom(infer)`, but does not implement `Infer`",
    label = "the `infer` stage is missing",
    note = "write `impl Infer for {Self} {{ fn infer(&self, call: &CallOf<'_, Self>, prepared: PreparedOf<Self>, plan: PlanOf<Self>) -> Result<RawOf<Self>> {{ ... }} }}`"
)]
pub trait Infer: Declaration {
    /// Runs the model.
    fn infer(
        &self,
        call: &CallOf<'_, Self>,
        prepared: PreparedOf<Self>,
        plan: PlanOf<Self>,
    ) -> Result<RawOf<Self>>;
}

/// Last stage: what a user gets.
#[diagnostic::on_unimplemented(
    message = "`{Self}` declares `custom(format)`, but does not implement `Format`",
    label = "the `format` stage is missing",
    note = "write `impl Format for {Self} {{ type Output = ...; fn format(&self, call: &CallOf<'_, Self>, raw: RawOf<Self>) -> Result<Vec<Self::Output>> {{ ... }} }}`"
)]
pub trait Format: Declaration {
    /// What a user gets for one input. `custom(format)` may choose a type of its own.
    type Output;

    /// Turns what the model gave into one output per input.
    fn format(&self, call: &CallOf<'_, Self>, raw: RawOf<Self>) -> Result<Vec<Self::Output>>;
}

/// A declaration with all four stages, which threads can share.
///
/// The threads are asked for here, where a pipeline is loaded, and not of each stage: a field that cannot be shared
/// is one mistake.
pub trait Stages: Preprocess + Route + Infer + Format + Send + Sync {}

impl<D: Preprocess + Route + Infer + Format + Send + Sync> Stages for D {}

/// A declaration whose `infer` stage is the architecture's own, so that its steps can be streamed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` overrides `infer`, so its steps cannot be streamed",
    label = "`infer` is overridden",
    note = "use `run`, or leave `infer` to the architecture"
)]
pub trait InfersByDefault: Infer {}

/// The call of a declaration.
pub type CallOf<'a, D> = Call<'a, <D as Declaration>::Architecture, <D as Declaration>::Task>;
/// The parameters of a declaration's architecture.
pub type ParametersOf<D> =
    <<D as Declaration>::Architecture as Architecture<<D as Declaration>::Task>>::Parameters;
/// The parts of a declaration's architecture.
pub type PartsOf<D> = <<D as Declaration>::Architecture as Architecture<<D as Declaration>::Task>>::Parts;
/// What goes into a declaration's pipeline.
pub type InputOf<D> = <<D as Declaration>::Architecture as Architecture<<D as Declaration>::Task>>::Input;
/// What `preprocess` gives.
pub type PreparedOf<D> =
    <<D as Declaration>::Architecture as Architecture<<D as Declaration>::Task>>::Prepared;
/// What `route` gives.
pub type PlanOf<D> = <<D as Declaration>::Architecture as Architecture<<D as Declaration>::Task>>::Plan;
/// What `infer` gives.
pub type RawOf<D> = <<D as Declaration>::Architecture as Architecture<<D as Declaration>::Task>>::Raw;
/// What `format` gives unless it is overridden.
pub type OutputOf<D> = <<D as Declaration>::Architecture as Architecture<<D as Declaration>::Task>>::Output;
/// What a declaration's pipeline keeps in memory.
pub type ModelOf<D> = <<D as Declaration>::Architecture as Architecture<<D as Declaration>::Task>>::Model;
/// What a streamed step adds.
pub type DeltaOf<D> = <<D as Declaration>::Architecture as Stepwise<<D as Declaration>::Task>>::Delta;
