//! Pipelines that are parts of another one: a retrieval pipeline has an embedder and a generator.
//!
//! An architecture says which parts it takes with its type [`Architecture::Parts`](crate::stage::Architecture::Parts), a
//! declaration names a pipeline for each (`generator = Storyteller`), and both are held against each other while
//! compiling. A part is loaded with its pipeline, on the same hardware, and whatever its architecture is, it is
//! used through its task alone.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use pipeline_schema::{Hardware, PartSpec, TaskSpec};

use crate::error::{Error, Result};
use crate::hardware::DeviceId;
use crate::pipeline::{Builder, Pipeline};
use crate::stage::{Architecture, Declaration, Declared, Format, InputOf, LoadOptions, PartsOf, Stages};
use crate::task::{PartTask, Task};

/// The parts that an architecture takes: a struct with a [`Part`] for each, none of which is there at first.
///
/// ```
/// use pipeline_runtime::parts::{Part, Parts};
/// use pipeline_runtime::task::TextGeneration;
/// use pipeline_schema::{PartSpec, task};
///
/// #[derive(Default)]
/// struct JuryParts {
///     generator: Part<TextGeneration>,
/// }
///
/// impl Parts for JuryParts {
///     const SPECS: &'static [PartSpec] = &[PartSpec {
///         name: "generator",
///         task: &task::TEXT_GENERATION,
///         required: true,
///         description: "gives the answers",
///     }];
/// }
/// ```
pub trait Parts: Default + 'static {
    /// A description of every field, under its name.
    const SPECS: &'static [PartSpec];
}

impl Parts for () {
    const SPECS: &'static [PartSpec] = &[];
}

/// A loaded pipeline that does the task `T`, or none where the part is optional and was left out.
pub struct Part<T: PartTask>(Option<Arc<dyn LoadedPart<T>>>);

impl<T: PartTask> Part<T> {
    /// Whether a pipeline was declared for it.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// What it runs on.
    pub fn hardware(&self) -> Option<Hardware> {
        self.0.as_ref().map(|part| part.hardware())
    }

    /// Runs the part on one input.
    ///
    /// # Errors
    /// A stage of the part fails, or the part was left out.
    pub fn run(&self, input: impl Into<T::Input>) -> Result<T::Output> {
        let mut outputs = self.run_batch(vec![input.into()])?;
        Ok(outputs.pop().expect("there are as many outputs as inputs"))
    }

    /// Runs the part on several inputs at once.
    ///
    /// # Errors
    /// As [`run`](Part::run).
    pub fn run_batch(&self, inputs: Vec<T::Input>) -> Result<Vec<T::Output>> {
        match &self.0 {
            Some(part) => part.run_batch(inputs),
            None => {
                let task = T::SPEC.name;
                Err(Error::input(format!("no part that does `{task}` is declared or given to the builder")))
            }
        }
    }
}

impl<T: PartTask> Default for Part<T> {
    fn default() -> Part<T> {
        Part(None)
    }
}

impl<T: PartTask> Clone for Part<T> {
    fn clone(&self) -> Part<T> {
        Part(self.0.clone())
    }
}

impl<T: PartTask> fmt::Debug for Part<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(part) => formatter.debug_tuple("Part").field(&part.name()).finish(),
            None => formatter.write_str("Part(none)"),
        }
    }
}

/// A pipeline whatever its architecture is.
trait LoadedPart<T: PartTask>: Send + Sync {
    fn name(&self) -> &'static str;
    fn hardware(&self) -> Hardware;
    fn run_batch(&self, inputs: Vec<T::Input>) -> Result<Vec<T::Output>>;
}

impl<D> LoadedPart<D::Task> for Pipeline<D>
where
    D: Stages,
    D::Task: PartTask,
    InputOf<D>: From<<D::Task as PartTask>::Input>,
    D::Output: Into<<D::Task as PartTask>::Output>,
{
    fn name(&self) -> &'static str {
        D::NAME
    }

    fn hardware(&self) -> Hardware {
        Pipeline::hardware(self)
    }

    fn run_batch(
        &self,
        inputs: Vec<<D::Task as PartTask>::Input>,
    ) -> Result<Vec<<D::Task as PartTask>::Output>> {
        Ok(Pipeline::run_batch(self, inputs)?.into_iter().map(Into::into).collect())
    }
}

/// A pipeline that is loaded already, and may be used by others, too.
impl<D> From<Arc<Pipeline<D>>> for Part<D::Task>
where
    D: Stages + 'static,
    D::Task: PartTask,
    InputOf<D>: From<<D::Task as PartTask>::Input>,
    D::Output: Into<<D::Task as PartTask>::Output>,
{
    fn from(pipeline: Arc<Pipeline<D>>) -> Part<D::Task> {
        Part(Some(pipeline))
    }
}

impl<D> From<Pipeline<D>> for Part<D::Task>
where
    D: Stages + 'static,
    D::Task: PartTask,
    InputOf<D>: From<<D::Task as PartTask>::Input>,
    D::Output: Into<<D::Task as PartTask>::Output>,
{
    fn from(pipeline: Pipeline<D>) -> Part<D::Task> {
        Part::from(Arc::new(pipeline))
    }
}

/// A field of [`Parts`], whatever its task is.
pub trait Slot {
    /// Whether a pipeline is there.
    fn is_filled(&self) -> bool;

    /// Puts a [`Part`] there.
    ///
    /// # Errors
    /// It is one of another task.
    fn fill(&mut self, part: Box<dyn Any>) -> Result<()>;
}

impl<T: PartTask> Slot for Part<T> {
    fn is_filled(&self) -> bool {
        self.is_there()
    }

    fn fill(&mut self, part: Box<dyn Any>) -> Result<()> {
        // The names of the tasks were compared while compiling: two types may still have one name.
        *self = *part.downcast().map_err(|_| {
            Error::input(format!("the part does another task than `{}`, of the same name", T::SPEC.name))
        })?;
        Ok(())
    }
}

/// A pipeline that another can load as its part.
///
/// The one bound of [`DeclaredPart::of`], so that a type that is no pipeline is one mistake and not one for each stage.
/// `#[pipeline]` implements it: for a blanket impl the compiler would tell of what that impl asks for.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a part of a pipeline",
    label = "not a pipeline that can be loaded",
    note = "a part is a struct with `#[pipeline(...)]` on it, whose fields other than its `#[param]`s all have a `Default`"
)]
pub trait LoadableAsPart {
    /// The pipeline itself: where it is none, the compiler asks nothing more of it.
    type This: Declared + Stages + 'static;
}

type TaskOf<D> = <<D as LoadableAsPart>::This as Declaration>::Task;

/// What a declaration says of one part: `generator = Storyteller`. `P` are the [`Parts`] it is one of.
pub struct DeclaredPart<P> {
    name: &'static str,
    pipeline: &'static str,
    task: &'static TaskSpec,
    /// For each of [`Hardware::ALL`], whether the pipeline and all its own parts run there.
    runs_on: [bool; Hardware::ALL.len()],
    slot: fn(&mut P) -> &mut dyn Slot,
    load: fn(&LoadOptions) -> Result<Box<dyn Any>>,
}

impl<P> DeclaredPart<P> {
    /// The pipeline `D` as the part `name`, which is at `slot`.
    pub const fn of<D>(name: &'static str, slot: fn(&mut P) -> &mut dyn Slot) -> DeclaredPart<P>
    where
        D: LoadableAsPart,
        TaskOf<D>: PartTask,
        InputOf<D::This>: From<<TaskOf<D> as PartTask>::Input>,
        <D::This as Format>::Output: Into<<TaskOf<D> as PartTask>::Output>,
    {
        DeclaredPart {
            name,
            pipeline: D::This::NAME,
            task: <TaskOf<D> as Task>::SPEC,
            runs_on: runs_on::<D::This>(D::This::PARTS.len()),
            slot,
            load: |options| {
                let builder = Builder::new(D::This::declared()).on(options.device.clone());
                Ok(Box::new(Part::from(builder.progress(options.progress).load()?)))
            },
        }
    }

    /// Loads the part, unless one was given already.
    pub(crate) fn load_into(&self, parts: &mut P, options: &LoadOptions) -> Result<()> {
        let slot = (self.slot)(parts);
        if slot.is_filled() {
            return Ok(());
        }
        let of_part =
            |source| Error::Part { part: self.name, pipeline: self.pipeline, source: Box::new(source) };
        (self.load)(options).and_then(|part| slot.fill(part)).map_err(of_part)
    }
}

/// For each of [`Hardware::ALL`], whether `D` and the first `parts` of its parts run there.
const fn runs_on<D: Declaration>(parts: usize) -> [bool; Hardware::ALL.len()] {
    let mut runs_on = [false; Hardware::ALL.len()];
    let mut index = 0;
    while index < D::HARDWARE.len() {
        runs_on[D::HARDWARE[index].index()] = true;
        index += 1;
    }
    let mut part = 0;
    while part < parts {
        let mut kind = 0;
        while kind < runs_on.len() {
            runs_on[kind] = runs_on[kind] && D::PARTS[part].runs_on[kind];
            kind += 1;
        }
        part += 1;
    }
    runs_on
}

/// The devices of `wanted` whose hardware every part of `D` runs on, too.
///
/// # Errors
/// There is none: the parts run elsewhere.
pub(crate) fn devices_of_all<D: Declaration>(wanted: &[DeviceId]) -> Result<Vec<DeviceId>> {
    let mut shared = wanted.to_vec();
    for part in D::PARTS {
        shared.retain(|device| part.runs_on[device.hardware.index()]);
        if shared.is_empty() && !wanted.is_empty() {
            let listed = Hardware::ALL.into_iter().filter(|kind| part.runs_on[kind.index()]);
            let listed: Vec<String> = listed.map(|kind| format!("`{kind}`")).collect();
            return Err(Error::Parameter(format!(
                "the part `{}` (`{}`) runs on {} only: a pipeline and its parts run on the same hardware",
                part.name,
                part.pipeline,
                listed.join(", "),
            )));
        }
    }
    Ok(shared)
}

/// Every part that the architecture needs is declared. Checked while compiling.
#[track_caller]
pub const fn check_needed<D: Declaration>() {
    let specs = <PartsOf<D> as Parts>::SPECS;
    let mut index = 0;
    while index < specs.len() {
        let spec = &specs[index];
        if spec.required && !declares::<D>(spec.name) {
            Message::new()
                .text("the architecture `")
                .text(<D::Architecture as Architecture<D::Task>>::NAME)
                .text("` needs the part `")
                .text(spec.name)
                .text("`; write `")
                .text(spec.name)
                .text(" = ...` with the name of a pipeline that does `")
                .text(spec.task.name)
                .text("`")
                .panic();
        }
        index += 1;
    }
}

/// The part `index` of the declaration does the task that the architecture wants of it. Checked while compiling.
#[track_caller]
pub const fn check_task<D: Declaration>(index: usize) {
    let part = &D::PARTS[index];
    let specs = <PartsOf<D> as Parts>::SPECS;
    let mut at = 0;
    while at < specs.len() && !same(specs[at].name, part.name) {
        at += 1;
    }
    if at == specs.len() {
        Message::new()
            .text("the part `")
            .text(part.name)
            .text("` is missing from `Parts::SPECS` of the architecture `")
            .text(<D::Architecture as Architecture<D::Task>>::NAME)
            .text("`")
            .panic();
    }
    if !same(specs[at].task.name, part.task.name) {
        Message::new()
            .text("`")
            .text(part.name)
            .text("` must be a pipeline that does `")
            .text(specs[at].task.name)
            .text("`, but `")
            .text(part.pipeline)
            .text("` does `")
            .text(part.task.name)
            .text("`")
            .panic();
    }
}

/// The part `index` of the declaration runs on hardware that the declaration and the parts before it run on, too.
/// Checked while compiling.
#[track_caller]
pub const fn check_hardware<D: Declaration>(index: usize) {
    let part = &D::PARTS[index];
    let so_far = runs_on::<D>(index);
    let mut overlap = false;
    let mut none_before = true;
    let mut kind = 0;
    while kind < so_far.len() {
        overlap = overlap || so_far[kind] && part.runs_on[kind];
        none_before = none_before && !so_far[kind];
        kind += 1;
    }
    // Where a part before it left nothing, that one is at fault.
    if overlap || none_before {
        return;
    }
    let owner = Message::new().text("`").text(D::NAME);
    let owner = if index == 0 {
        owner.text("` runs on ")
    } else {
        owner.text("` and the parts before this one run on ")
    };
    owner
        .hardware(&so_far)
        .text(", but `")
        .text(part.pipeline)
        .text("` on ")
        .hardware(&part.runs_on)
        .text("; a pipeline and its parts run on the same hardware, so name one in both")
        .panic();
}

const fn declares<D: Declaration>(name: &str) -> bool {
    let mut index = 0;
    while index < D::PARTS.len() {
        if same(D::PARTS[index].name, name) {
            return true;
        }
        index += 1;
    }
    false
}

const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut index = 0;
    while index < left.len() && index < right.len() && left[index] == right[index] {
        index += 1;
    }
    index == left.len() && index == right.len()
}

/// An error message put together while compiling, where nothing can be formatted.
struct Message {
    bytes: [u8; Message::LIMIT],
    length: usize,
}

impl Message {
    /// Longer messages are cut off.
    const LIMIT: usize = 1024;

    const fn new() -> Message {
        Message { bytes: [0; Message::LIMIT], length: 0 }
    }

    const fn text(mut self, text: &str) -> Message {
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() && self.length < Message::LIMIT {
            self.bytes[self.length] = text[index];
            self.length += 1;
            index += 1;
        }
        self
    }

    /// `` `cuda`, `rocm` ``.
    const fn hardware(self, runs_on: &[bool; Hardware::ALL.len()]) -> Message {
        let mut message = self;
        let mut first = true;
        let mut kind = 0;
        while kind < runs_on.len() {
            if runs_on[kind] {
                let separator = if first { "`" } else { ", `" };
                message = message.text(separator).text(Hardware::ALL[kind].name()).text("`");
                first = false;
            }
            kind += 1;
        }
        if first { message.text("nothing") } else { message }
    }

    #[track_caller]
    const fn panic(self) -> ! {
        let (message, _) = self.bytes.split_at(self.length);
        match std::str::from_utf8(message) {
            Ok(message) => panic!("{}", message),
            Err(_) => panic!("a part does not fit, and the names around it are too long to say why"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_not_there_is_an_error() {
        let part: Part<crate::task::TextGeneration> = Part::default();
        assert!(!part.is_there());
        assert_eq!(part.hardware(), None);
        let error = part.run("Once upon a time").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no part that does `text-generation` is declared or given to the builder"
        );
    }

    #[test]
    fn a_part_of_another_task_is_refused() {
        let mut part: Part<crate::task::TextGeneration> = Part::default();
        let other: Part<crate::task::FeatureExtraction> = Part::default();
        assert!(part.fill(Box::new(other)).is_err());
        assert!(part.fill(Box::new(Part::<crate::task::TextGeneration>::default())).is_ok());
    }

    #[test]
    #[should_panic(expected = "`a` runs on `cpu`, `rocm` and nothing")]
    fn messages_are_put_together() {
        Message::new()
            .text("`a` runs on ")
            .hardware(&[true, false, true])
            .text(" and ")
            .hardware(&[false; 3])
            .panic();
    }

    #[test]
    fn texts_are_compared_whole() {
        assert!(same("generator", "generator") && same("", ""));
        assert!(!same("generator", "generators") && !same("generators", "generator") && !same("a", "b"));
    }
}
