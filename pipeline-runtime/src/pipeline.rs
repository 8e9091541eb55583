//! A loaded declaration, and how it is loaded.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pipeline_schema::{DType, Hardware, Problem, Subject, arch, rules};
use serde::{Serialize, Serializer};

use crate::checkpoint::CheckpointFiles;
use crate::error::{Error, Result};
use crate::hardware::{Device, DeviceId};
use crate::kernels::QuantizedFormat;
use crate::parts;
use crate::stage::{
    Architecture, Call, CallOf, Declaration, DeclaredModel, DeltaOf, Format, InfersByDefault, InputOf,
    LoadOptions, ModelOf, Parameters, ParametersOf, PartsOf, PlanOf, PreparedOf, RawOf, Stages, Stepwise,
};
use crate::task::Task;

/// A loaded declaration: the weights, what reads and writes its inputs and outputs, and the declaration itself.
///
/// It never changes while it runs, so that threads can share it; what a call mutates lives in that call.
pub struct Pipeline<D: Declaration> {
    declaration: D,
    model: ModelOf<D>,
    parameters: ParametersOf<D>,
    hardware: Hardware,
}

/// What a run gives: the output, what it ran on and how long each stage took.
///
/// It reads like the output itself: `response.text` is `response.output.text`. Serialised, the fields of the output stand
/// beside the others, so that an output of one's own must be a struct or a map.
#[derive(Clone, Debug, Serialize)]
pub struct Response<O> {
    /// The output of the `format` stage.
    #[serde(flatten)]
    pub output: O,
    /// What the call ran on.
    pub hardware: Hardware,
    /// How long each stage took.
    pub timings: Timings,
}

/// What a run over several inputs gives, in their order.
#[derive(Clone, Debug, Serialize)]
pub struct Responses<O> {
    /// One output per input.
    pub outputs: Vec<O>,
    /// What the call ran on.
    pub hardware: Hardware,
    /// How long each stage took, for all inputs together.
    pub timings: Timings,
}

/// How long each stage of a call took. Serialised in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Timings {
    /// Inputs to what the model takes.
    #[serde(serialize_with = "seconds")]
    pub preprocess: Duration,
    /// Deciding how the batch goes through the model.
    #[serde(serialize_with = "seconds")]
    pub route: Duration,
    /// The model.
    #[serde(serialize_with = "seconds")]
    pub infer: Duration,
    /// What the model gave to outputs.
    #[serde(serialize_with = "seconds")]
    pub format: Duration,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Timings {
    /// All stages together.
    pub fn total(&self) -> Duration {
        self.preprocess + self.route + self.infer + self.format
    }
}

impl<O> Deref for Response<O> {
    type Target = O;

    fn deref(&self) -> &O {
        &self.output
    }
}

impl<O: fmt::Display> fmt::Display for Response<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.output.fmt(formatter)
    }
}

impl<O> Deref for Responses<O> {
    type Target = [O];

    fn deref(&self) -> &[O] {
        &self.outputs
    }
}

impl<O> IntoIterator for Responses<O> {
    type Item = O;
    type IntoIter = std::vec::IntoIter<O>;

    fn into_iter(self) -> Self::IntoIter {
        self.outputs.into_iter()
    }
}

impl<D: Declaration> fmt::Debug for Pipeline<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Pipeline")
            .field("declaration", &D::NAME)
            .field("hardware", &self.hardware)
            .finish_non_exhaustive()
    }
}

impl<D: Stages> Pipeline<D> {
    /// Runs all four stages on one input.
    ///
    /// # Errors
    /// Where a stage fails: the input cannot be processed, or a parameter does not fit it.
    pub fn run(&self, input: impl Into<InputOf<D>>) -> Result<Response<D::Output>> {
        self.run_with(input, |_| {})
    }

    /// Runs all four stages on one input, with parameters of this call's own.
    ///
    /// ```ignore
    /// teller.run_with("Once upon a time", |parameters| parameters.seed = Some(7))?;
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run), and where a changed parameter breaks a rule.
    pub fn run_with(
        &self,
        input: impl Into<InputOf<D>>,
        adjust: impl FnOnce(&mut ParametersOf<D>),
    ) -> Result<Response<D::Output>> {
        let Responses { outputs, hardware, timings } = self.run_stages(vec![input.into()], adjust)?;
        let output = outputs.into_iter().next().expect("there are as many outputs as inputs");
        Ok(Response { output, hardware, timings })
    }

    /// Runs all four stages on several inputs at once. The inputs may differ in length.
    ///
    /// # Errors
    /// As [`run`](Self::run); one input that cannot be processed fails the batch.
    pub fn run_batch<I: Into<InputOf<D>>>(
        &self,
        inputs: impl IntoIterator<Item = I>,
    ) -> Result<Responses<D::Output>> {
        self.run_batch_with(inputs, |_| {})
    }

    /// Runs all four stages on several inputs at once, with parameters of this call's own.
    ///
    /// # Errors
    /// As [`run_batch`](Self::run_batch), and where a changed parameter breaks a rule.
    pub fn run_batch_with<I: Into<InputOf<D>>>(
        &self,
        inputs: impl IntoIterator<Item = I>,
        adjust: impl FnOnce(&mut ParametersOf<D>),
    ) -> Result<Responses<D::Output>> {
        self.run_stages(inputs.into_iter().map(Into::into).collect(), adjust)
    }

    fn run_stages(
        &self,
        inputs: Vec<InputOf<D>>,
        adjust: impl FnOnce(&mut ParametersOf<D>),
    ) -> Result<Responses<D::Output>> {
        let call = self.call_with(adjust)?;
        let mut timings = Timings::default();
        let count = inputs.len();
        let prepared = timed(&mut timings.preprocess, || self.declaration.preprocess(&call, inputs))?;
        let plan = timed(&mut timings.route, || self.declaration.route(&call, &prepared))?;
        let raw = timed(&mut timings.infer, || self.declaration.infer(&call, prepared, plan))?;
        let outputs = timed(&mut timings.format, || self.declaration.format(&call, raw))?;
        check_count::<D>(outputs.len(), count)?;
        Ok(Responses { outputs, hardware: self.hardware, timings })
    }

    /// The first stage alone.
    ///
    /// # Errors
    /// Where an input cannot be processed.
    pub fn preprocess<I: Into<InputOf<D>>>(
        &self,
        inputs: impl IntoIterator<Item = I>,
    ) -> Result<PreparedOf<D>> {
        self.declaration.preprocess(&self.call(), inputs.into_iter().map(Into::into).collect())
    }

    /// The second stage alone.
    ///
    /// # Errors
    /// Where the batch does not fit the parameters.
    pub fn route(&self, prepared: &PreparedOf<D>) -> Result<PlanOf<D>> {
        self.declaration.route(&self.call(), prepared)
    }

    /// The third stage alone.
    ///
    /// # Errors
    /// Where the model cannot run the plan.
    pub fn infer(&self, prepared: PreparedOf<D>, plan: PlanOf<D>) -> Result<RawOf<D>> {
        self.declaration.infer(&self.call(), prepared, plan)
    }

    /// The last stage alone.
    ///
    /// # Errors
    /// Where the result cannot be turned into outputs.
    pub fn format(&self, raw: RawOf<D>) -> Result<Vec<D::Output>> {
        self.declaration.format(&self.call(), raw)
    }

    /// Runs on one input and gives the output as it arrives. Dropping the stream cancels the run.
    ///
    /// # Errors
    /// Where the input cannot be processed; each step can fail by itself.
    pub fn stream(&self, input: impl Into<InputOf<D>>) -> Result<Stream<'_, D>>
    where
        D: InfersByDefault,
        D::Architecture: Stepwise<D::Task>,
    {
        self.stream_with(input, |_| {})
    }

    /// Streams with parameters of this call's own.
    ///
    /// # Errors
    /// As [`stream`](Self::stream), and where a changed parameter breaks a rule.
    pub fn stream_with(
        &self,
        input: impl Into<InputOf<D>>,
        adjust: impl FnOnce(&mut ParametersOf<D>),
    ) -> Result<Stream<'_, D>>
    where
        D: InfersByDefault,
        D::Architecture: Stepwise<D::Task>,
    {
        let call = self.call_with(adjust)?;
        let mut timings = Timings::default();
        let inputs = vec![input.into()];
        let prepared = timed(&mut timings.preprocess, || self.declaration.preprocess(&call, inputs))?;
        let plan = timed(&mut timings.route, || self.declaration.route(&call, &prepared))?;
        let session = timed(&mut timings.infer, || D::Architecture::begin(&call, prepared, plan))?;
        Ok(Stream { declaration: &self.declaration, call, session, timings, ended: false })
    }
}

impl<D: Declaration> Pipeline<D> {
    /// The declaration with its values.
    pub fn declaration(&self) -> &D {
        &self.declaration
    }

    /// What is kept in memory.
    pub fn model(&self) -> &ModelOf<D> {
        &self.model
    }

    /// What the pipeline runs on.
    pub fn hardware(&self) -> Hardware {
        self.hardware
    }

    /// The parameters of a call that changes none.
    pub fn parameters(&self) -> &ParametersOf<D> {
        &self.parameters
    }

    /// A call with the declared parameters, for calling a stage of the declaration directly.
    pub fn call(&self) -> CallOf<'_, D> {
        Call { model: &self.model, parameters: self.parameters.clone(), hardware: self.hardware }
    }

    fn call_with(&self, adjust: impl FnOnce(&mut ParametersOf<D>)) -> Result<CallOf<'_, D>> {
        let mut call = self.call();
        adjust(&mut call.parameters);
        check_ranges::<D>(&call.parameters)?;
        Ok(call)
    }
}

/// The output of a run as it arrives.
pub struct Stream<'p, D: Declaration>
where
    D::Architecture: Stepwise<D::Task>,
{
    declaration: &'p D,
    call: CallOf<'p, D>,
    session: <D::Architecture as Stepwise<D::Task>>::Session,
    timings: Timings,
    ended: bool,
}

impl<D: Format> Stream<'_, D>
where
    D::Architecture: Stepwise<D::Task>,
{
    /// Runs what is left and gives the whole output.
    ///
    /// # Errors
    /// Where a step or the `format` stage fails.
    pub fn finish(mut self) -> Result<Response<D::Output>> {
        for delta in self.by_ref() {
            delta?;
        }
        self.into_response()
    }

    /// Stops here and gives the output of the steps so far.
    ///
    /// # Errors
    /// Where the `format` stage fails.
    pub fn into_response(self) -> Result<Response<D::Output>> {
        let Stream { declaration, call, session, mut timings, .. } = self;
        let raw = timed(&mut timings.infer, || D::Architecture::finish(&call, session))?;
        let outputs = timed(&mut timings.format, || declaration.format(&call, raw))?;
        check_count::<D>(outputs.len(), 1)?;
        let output = outputs.into_iter().next().expect("there is one output");
        Ok(Response { output, hardware: call.hardware, timings })
    }
}

impl<D: Declaration> Iterator for Stream<'_, D>
where
    D::Architecture: Stepwise<D::Task>,
{
    type Item = Result<DeltaOf<D>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let Stream { call, session, timings, .. } = self;
        let step = timed(&mut timings.infer, || D::Architecture::step(call, session)).transpose();
        self.ended = !matches!(step, Some(Ok(_)));
        step
    }
}

/// A `format` stage of the user's own may have lost an output or made one up.
fn check_count<D: Declaration>(outputs: usize, inputs: usize) -> Result<()> {
    if outputs == inputs {
        return Ok(());
    }
    let name = D::NAME;
    Err(Error::input(format!("the `format` stage of `{name}` gave {outputs} outputs for {inputs} inputs")))
}

fn timed<R>(total: &mut Duration, work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

/// How a declaration is loaded: another model, other hardware, another number format.
pub struct Builder<D: Declaration> {
    declaration: D,
    model: Option<PathBuf>,
    devices: Vec<DeviceId>,
    /// The device itself, where the pipeline is a part of one that runs there.
    device: Option<Device>,
    dtype: Option<DType>,
    quantization: Option<QuantizedFormat>,
    progress: bool,
    parts: PartsOf<D>,
}

impl<D: Declaration> Builder<D> {
    /// Starts from a value of the declared struct.
    pub fn new(declaration: D) -> Builder<D> {
        let devices = D::HARDWARE.iter().copied().map(DeviceId::from).collect();
        let parts = PartsOf::<D>::default();
        Builder {
            declaration,
            model: None,
            devices,
            device: None,
            dtype: D::DTYPE,
            quantization: None,
            progress: true,
            parts,
        }
    }

    /// Loads this directory instead of the declared model.
    pub fn model(mut self, directory: impl Into<PathBuf>) -> Builder<D> {
        self.model = Some(directory.into());
        self
    }

    /// Changes values of the declared struct.
    pub fn configure(mut self, change: impl FnOnce(&mut D)) -> Builder<D> {
        change(&mut self.declaration);
        self
    }

    /// Runs on the first of these that is present, instead of the declared list.
    pub fn hardware(self, hardware: impl IntoIterator<Item = Hardware>) -> Builder<D> {
        self.devices(hardware.into_iter().map(DeviceId::from))
    }

    /// Runs on the first of these devices that is present, instead of the declared list: the second GPU is
    /// `"cuda:1".parse()`.
    pub fn devices(mut self, devices: impl IntoIterator<Item = DeviceId>) -> Builder<D> {
        self.devices = devices.into_iter().collect();
        self
    }

    /// Runs on this device, which is open.
    pub(crate) fn on(mut self, device: Device) -> Builder<D> {
        self.device = Some(device);
        self
    }

    /// Keeps the weights in this number format, instead of the declared one or the checkpoint's.
    pub fn dtype(mut self, dtype: DType) -> Builder<D> {
        self.dtype = Some(dtype);
        self
    }

    /// Quantises the weights of linear maps while they are read, to fewer bits than any number format has: 4.5 for
    /// [`QuantizedFormat::Q4K`], 8.5 for [`QuantizedFormat::Q80`]. Decoding, which is bound by reading them, is faster by
    /// about as much, and results are less exact.
    ///
    /// Embeddings, routers, norms and biases stay as they are, and so do matrices whose rows are no whole blocks;
    /// [`Weights::quantized`](crate::layers::Weights::quantized) says which take what.
    pub fn quantization(mut self, format: QuantizedFormat) -> Builder<D> {
        self.quantization = Some(format);
        self
    }

    /// Gives pipelines that are loaded already as parts, in place of the declared ones.
    ///
    /// ```ignore
    /// let teller = Storyteller::from_pretrained("another-storyteller")?;
    /// let jury = Jury::builder().parts(|parts| parts.generator = teller.into()).load()?;
    /// ```
    pub fn parts(mut self, give: impl FnOnce(&mut PartsOf<D>)) -> Builder<D> {
        give(&mut self.parts);
        self
    }

    /// Shows or hides the progress bar of loading. It is hidden anyway when standard error is no terminal.
    pub fn progress(mut self, progress: bool) -> Builder<D> {
        self.progress = progress;
        self
    }

    /// Loads the pipeline.
    ///
    /// # Errors
    /// The model is not found, its files are malformed or break a rule, or no hardware of the list is present.
    pub fn load(self) -> Result<Pipeline<D>>
    where
        D: Stages,
    {
        const {
            parts::check_needed::<D>();
            let mut index = 0;
            while index < D::PARTS.len() {
                parts::check_task::<D>(index);
                parts::check_hardware::<D>(index);
                index += 1;
            }
        }
        let device = match self.device {
            Some(device) => device,
            None => Device::first_present(&parts::devices_of_all::<D>(&self.devices)?)?,
        };
        let hardware = device.hardware();
        let Builder { dtype, quantization, progress, .. } = self;
        let options = LoadOptions { device, dtype, quantization, progress };
        let files = match (&self.model, D::MODEL) {
            (Some(directory), _) => Some(CheckpointFiles::open(directory)?),
            (None, Some(declared)) => {
                let files = CheckpointFiles::open(&locate(&declared)?)?;
                if let Some(expected) = declared.header_hash {
                    check_header(declared.path, expected, &files)?;
                }
                Some(files)
            }
            (None, None) => None,
        };
        let mut request = arch::find(D::Architecture::NAME)
            .map(|architecture| rules::Request::new(architecture, D::Task::SPEC, vec![hardware]));
        if let (Some(request), Some(files)) = (&mut request, &files) {
            request.dtype = self.dtype;
            check(files, request)?;
        }
        let mut given = self.parts;
        for part in D::PARTS {
            part.load_into(&mut given, &options)?;
        }
        let model = match &files {
            Some(files) => D::Architecture::load(files, given, &options)?,
            None => D::Architecture::assemble(given, &options)?.ok_or_else(|| {
                Error::input(format!(
                    "`{name}` declares no model: write `model = \"...\"` or call `{name}::from_pretrained`",
                    name = D::NAME
                ))
            })?,
        };
        let defaults = D::Architecture::parameters(&model);
        let mut parameters = defaults.clone();
        self.declaration.configure(&mut parameters)?;
        check_ranges::<D>(&parameters)?;
        if let (Some(request), Some(files)) = (&mut request, &files) {
            let defaults = defaults.values();
            let declared = parameters.values().into_iter().filter(|value| !defaults.contains(value));
            request.parameters = declared.map(|(name, value)| (name.to_owned(), Some(value))).collect();
            check(files, request)?;
        }
        Ok(Pipeline { declaration: self.declaration, model, parameters, hardware })
    }
}

fn check(files: &CheckpointFiles, request: &rules::Request) -> Result<()> {
    let mut problems = rules::check_checkpoint(files.facts(), request);
    problems.extend(rules::hardware_computes_in_dtype(request));
    if problems.is_empty() { Ok(()) } else { Err(Error::Rules { problems }) }
}

/// A parameter is within its range, also where a call changed it.
fn check_ranges<D: Declaration>(parameters: &ParametersOf<D>) -> Result<()> {
    let Some(architecture) = arch::find(D::Architecture::NAME) else { return Ok(()) };
    let mut request = rules::Request::new(architecture, D::Task::SPEC, Vec::new());
    request.parameters =
        parameters.values().into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect();
    match rules::check_values(&request).into_iter().next() {
        Some(problem) => Err(Error::Parameter(problem.message)),
        None => Ok(()),
    }
}

fn check_header(path: &str, expected: u64, files: &CheckpointFiles) -> Result<()> {
    let found = files.facts().header_hash();
    if found == expected {
        return Ok(());
    }
    let message = format!(
        "`{path}` holds other weights than the ones that were checked while compiling \
         (header hash {found:016x}, expected {expected:016x}); compile again, or call `from_pretrained`"
    );
    Err(Error::Rule(Problem::new(Subject::Model, message)))
}

/// Looks for a declared model in the working directory, beside the executable, then in the declaring crate.
fn locate(declared: &DeclaredModel) -> Result<PathBuf> {
    let beside_executable =
        std::env::current_exe().ok().and_then(|executable| executable.parent().map(Path::to_owned));
    let roots = [Some(PathBuf::from(".")), beside_executable, Some(declared.manifest_directory.into())];
    let looked_in: Vec<PathBuf> = roots.into_iter().flatten().map(|root| root.join(declared.path)).collect();
    match looked_in.iter().find(|directory| directory.join("config.json").is_file()) {
        Some(directory) => Ok(directory.clone()),
        None => Err(Error::ModelNotFound { model: declared.path.to_owned(), looked_in }),
    }
}
