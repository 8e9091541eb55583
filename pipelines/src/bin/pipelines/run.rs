//! `pipelines run`

use std::fmt::Display;
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use pipelines::arch::generation::{GenerationParameters, Prompt, TextDelta, Usage};
use pipelines::arch::moe::{ExpertAttribution, MoeParameters};
use pipelines::prelude::*;
use pipelines::ready::{
    DenseFeatureExtraction, DenseTextGeneration, MoeFeatureExtraction, MoeTextGeneration,
};
use pipelines::schema::ArchitectureSpec;
use pipelines::text::Message;
use pipelines::{
    Architecture, Builder, Declaration, DeviceId, InfersByDefault, ParametersOf, QuantizedFormat, Stages,
    Stepwise, schema,
};
use serde::Serialize;

use crate::options::{Outcome, WeightFormat};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The checkpoint: a directory in the layout of Hugging Face
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The prompt; without one, standard input is read
    prompt: Option<String>,
    /// What to do, such as `text-generation` or `feature-extraction` [default: the architecture's first]
    #[arg(long)]
    task: Option<String>,
    /// Take the prompt as a message of a conversation and answer it
    #[arg(long)]
    chat: bool,
    /// What the conversation's system message says
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Where to run, in order of preference: `cpu`, `cuda`, `rocm`, `cuda:1`
    #[arg(long, value_delimiter = ',')]
    device: Vec<DeviceId>,
    /// The number format of the weights that are not quantised [default: the checkpoint's]
    #[arg(long, value_enum)]
    dtype: Option<WeightFormat>,
    /// Quantise the weights of linear maps: `q8_0`, `q4_k`
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<QuantizedFormat>,
    /// Tokens to generate at most
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Flattens (above 1) or sharpens (below 1) the distribution of the next token; 0 is greedy
    #[arg(long)]
    temperature: Option<f32>,
    /// Samples from the likeliest tokens whose probabilities sum to this
    #[arg(long)]
    top_p: Option<f32>,
    /// Samples from this many likeliest tokens
    #[arg(long)]
    top_k: Option<usize>,
    /// Drops tokens less likely than this share of the likeliest token's probability
    #[arg(long)]
    min_p: Option<f32>,
    /// Divides the logits of tokens seen before
    #[arg(long)]
    repetition_penalty: Option<f32>,
    /// Takes the likeliest token each time
    #[arg(long)]
    greedy: bool,
    /// Reproduces a run
    #[arg(long)]
    seed: Option<u64>,
    /// A text that ends the generation; may be given several times
    #[arg(long)]
    stop: Vec<String>,
    /// Experts that each token visits in a layer
    #[arg(long)]
    num_active_experts: Option<usize>,
    /// Limits an expert to this many times its even share of tokens
    #[arg(long)]
    capacity_factor: Option<f32>,
    /// Write the whole output as JSON
    #[arg(long)]
    json: bool,
    /// Draw which expert read or wrote which word
    #[arg(long)]
    heatmap: bool,
    /// Write the same picture to an SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let facts = schema::checkpoint::Checkpoint::read(&arguments.model)?;
    let architecture = schema::arch::of_model_type(facts.model_type()).ok_or_else(|| {
        let known = schema::ARCHITECTURES.iter().flat_map(|architecture| architecture.model_types).copied();
        let instead = schema::suggest::instead(facts.model_type(), known.collect::<Vec<_>>());
        format!("{}: unknown `model_type` `{}`; {instead}", facts.shown("config.json"), facts.model_type())
    })?;
    let task = match &arguments.task {
        None => architecture.default_task(),
        Some(name) => match architecture.task(name) {
            Some(task) if architecture.runs_task(task) => task,
            Some(task) => return Err(schema::rules::not_done_yet(architecture, task).into()),
            None => {
                let names = architecture.running_tasks().map(|task| task.name);
                let instead = schema::suggest::instead(name, names);
                return Err(
                    format!("architecture `{}` has no task `{name}`; {instead}", architecture.name).into()
                );
            }
        },
    };
    let prompt = arguments.prompt()?;
    let has_experts = architecture == &schema::arch::MOE;
    if !has_experts {
        arguments.refuse_those_of_experts(architecture)?;
    }
    let of_moe = |parameters: &mut MoeParameters| arguments.of_moe(parameters);
    let of_generation = |parameters: &mut GenerationParameters| arguments.of_generation(parameters);
    match (has_experts, task == &schema::task::FEATURE_EXTRACTION) {
        (true, true) => arguments.extract(MoeFeatureExtraction::builder(), prompt, of_moe),
        (false, true) => arguments.extract(DenseFeatureExtraction::builder(), prompt, of_generation),
        (true, false) => arguments.generate(MoeTextGeneration::builder(), prompt, of_moe, |generation| {
            arguments.picture(&generation.experts)?;
            Ok((generation.usage, generation.seed))
        }),
        (false, false) => {
            arguments.generate(DenseTextGeneration::builder(), prompt, of_generation, |generation| {
                Ok((generation.usage, generation.seed))
            })
        }
    }
}

impl Arguments {
    fn prompt(&self) -> Result<Prompt, Box<dyn std::error::Error>> {
        let text = match &self.prompt {
            Some(prompt) => prompt.clone(),
            None => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                text.trim_end_matches('\n').to_owned()
            }
        };
        if !self.chat {
            return Ok(Prompt::Text(text));
        }
        let message = |role: &str, content: String| Message { role: role.to_owned(), content };
        let system = self.system.iter().map(|system| message("system", system.clone()));
        Ok(Prompt::Messages(system.chain([message("user", text)]).collect()))
    }

    fn adjust<D: Declaration>(&self, builder: pipelines::Builder<D>) -> pipelines::Builder<D> {
        let mut builder = builder.model(&self.model).progress(!self.json);
        if !self.device.is_empty() {
            builder = builder.devices(self.device.iter().copied());
        }
        if let Some(dtype) = self.dtype {
            builder = builder.dtype(dtype.into());
        }
        match self.quantize {
            Some(format) => builder.quantization(format),
            None => builder,
        }
    }

    /// Turns the prompt into vectors.
    fn extract<D>(
        &self,
        builder: Builder<D>,
        prompt: Prompt,
        change: impl FnOnce(&mut ParametersOf<D>),
    ) -> Outcome
    where
        D: Stages<Output: Display + Serialize>,
        D::Architecture: Architecture<D::Task, Input = Prompt>,
    {
        self.print(&self.adjust(builder).load()?.run_with(prompt, change)?)
    }

    /// Generates a text, which is written as it grows unless JSON is asked for. `told` is called with it when it is
    /// whole, and gives its tokens and its seed: what is said on standard error, when somebody looks at it.
    fn generate<D>(
        &self,
        builder: Builder<D>,
        prompt: Prompt,
        change: impl FnOnce(&mut ParametersOf<D>),
        told: impl FnOnce(&D::Output) -> Result<(Usage, u64), Box<dyn std::error::Error>>,
    ) -> Outcome
    where
        D: Stages<Output: Display + Serialize> + InfersByDefault,
        D::Architecture: Stepwise<D::Task, Input = Prompt, Delta = TextDelta>,
    {
        let pipeline = self.adjust(builder).load()?;
        let continued = match &prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Messages(_) => String::new(),
        };
        let mut stream = pipeline.stream_with(prompt, change)?;
        if self.json {
            let generation = stream.finish()?;
            told(&generation)?;
            return self.print(&generation);
        }
        let mut out = std::io::stdout().lock();
        write!(out, "{continued}")?;
        out.flush()?;
        for delta in &mut stream {
            write!(out, "{}", delta?.text)?;
            out.flush()?;
        }
        writeln!(out)?;
        drop(out);
        let generation = stream.into_response()?;
        let (Usage { prompt_tokens, completion_tokens: tokens }, seed) = told(&generation)?;
        if std::io::stderr().is_terminal() {
            let seconds = generation.timings.infer.as_secs_f64();
            eprintln!(
                "\n{tokens} tokens after {prompt_tokens} in {seconds:.2} s ({:.1} tokens/s) on {}, seed {seed}",
                tokens as f64 / seconds,
                generation.hardware,
            );
        }
        Ok(())
    }

    /// Draws which expert read or wrote which word, where that is asked for.
    fn picture(&self, experts: &ExpertAttribution) -> Outcome {
        if let Some(path) = &self.svg {
            std::fs::write(path, experts.heatmap().svg())
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        if self.heatmap && !self.json {
            write!(anstream::stdout(), "\n{:#}", experts.heatmap())?;
        }
        Ok(())
    }

    /// Sets what is given of how text is generated.
    fn of_generation(&self, parameters: &mut GenerationParameters) {
        set(&mut parameters.max_new_tokens, &self.max_new_tokens);
        set(&mut parameters.temperature, &self.temperature);
        set(&mut parameters.top_p, &self.top_p);
        set(&mut parameters.top_k, &self.top_k);
        set(&mut parameters.min_p, &self.min_p);
        set(&mut parameters.repetition_penalty, &self.repetition_penalty);
        parameters.do_sample &= !self.greedy;
        parameters.seed = self.seed.or(parameters.seed);
        parameters.stop.extend(self.stop.iter().cloned());
    }

    /// Sets what is given for a mixture of experts.
    fn of_moe(&self, parameters: &mut MoeParameters) {
        self.of_generation(parameters);
        set(&mut parameters.num_active_experts, &self.num_active_experts);
        parameters.capacity_factor = self.capacity_factor.or(parameters.capacity_factor);
    }

    /// Refuses what only a mixture of experts has.
    fn refuse_those_of_experts(&self, architecture: &ArchitectureSpec) -> Outcome {
        let given = [
            ("--num-active-experts", self.num_active_experts.is_some()),
            ("--capacity-factor", self.capacity_factor.is_some()),
            ("--heatmap", self.heatmap),
            ("--svg", self.svg.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(format!(
                "`{option}` is about experts, but the model is of the architecture `{}`",
                architecture.name
            )
            .into()),
        }
    }

    fn print<O: Display + Serialize>(&self, output: &O) -> Outcome {
        if self.json {
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(output)?)?;
        } else {
            writeln!(std::io::stdout(), "{output}")?;
        }
        Ok(())
    }
}

fn set<T: Clone>(parameter: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        *parameter = value.clone();
    }
}
