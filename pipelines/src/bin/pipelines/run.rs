//! `pipelines run`

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use pipelines::arch::moe::{Generation, Prompt};
use pipelines::prelude::*;
use pipelines::ready::{MoeFeatureExtraction, MoeTextGeneration};
use pipelines::text::Message;
use pipelines::{DeviceId, Response, schema};

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
    /// The number format of the weights [default: the checkpoint's]
    #[arg(long, value_enum)]
    dtype: Option<WeightFormat>,
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
    if task == &schema::task::FEATURE_EXTRACTION {
        let pipeline = arguments.adjust(MoeFeatureExtraction::builder()).load()?;
        let features = pipeline.run_with(prompt, |parameters| arguments.parameters(parameters))?;
        return arguments.print(&features);
    }
    generate(arguments, prompt)
}

fn generate(arguments: &Arguments, prompt: Prompt) -> Outcome {
    let pipeline = arguments.adjust(MoeTextGeneration::builder()).load()?;
    let continued = match &prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Messages(_) => String::new(),
    };
    let mut stream = pipeline.stream_with(prompt, |parameters| arguments.parameters(parameters))?;
    let generation = if arguments.json {
        stream.finish()?
    } else {
        let mut out = std::io::stdout().lock();
        write!(out, "{continued}")?;
        out.flush()?;
        for delta in &mut stream {
            write!(out, "{}", delta?.text)?;
            out.flush()?;
        }
        writeln!(out)?;
        stream.into_response()?
    };
    if let Some(path) = &arguments.svg {
        std::fs::write(path, generation.experts.heatmap().svg())
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if arguments.json {
        return arguments.print(&generation);
    }
    if arguments.heatmap {
        write!(anstream::stdout(), "\n{:#}", generation.experts.heatmap())?;
    }
    summarise(&generation);
    Ok(())
}

/// Says on standard error how the run went, when somebody looks at it.
fn summarise(generation: &Response<Generation>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let seconds = generation.timings.infer.as_secs_f64();
    let tokens = generation.usage.completion_tokens;
    eprintln!(
        "\n{tokens} tokens after {} in {seconds:.2} s ({:.1} tokens/s) on {}, seed {}",
        generation.usage.prompt_tokens,
        tokens as f64 / seconds,
        generation.hardware,
        generation.seed,
    );
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
        match self.dtype {
            Some(dtype) => builder.dtype(dtype.into()),
            None => builder,
        }
    }

    fn parameters(&self, parameters: &mut pipelines::arch::moe::MoeParameters) {
        fn set<T: Clone>(parameter: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                *parameter = value.clone();
            }
        }
        set(&mut parameters.max_new_tokens, &self.max_new_tokens);
        set(&mut parameters.temperature, &self.temperature);
        set(&mut parameters.top_p, &self.top_p);
        set(&mut parameters.top_k, &self.top_k);
        set(&mut parameters.min_p, &self.min_p);
        set(&mut parameters.repetition_penalty, &self.repetition_penalty);
        set(&mut parameters.num_active_experts, &self.num_active_experts);
        parameters.do_sample &= !self.greedy;
        parameters.seed = self.seed.or(parameters.seed);
        parameters.capacity_factor = self.capacity_factor.or(parameters.capacity_factor);
        parameters.stop.extend(self.stop.iter().cloned());
    }

    fn print<O: std::fmt::Display + serde::Serialize>(&self, output: &O) -> Outcome {
        if self.json {
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(output)?)?;
        } else {
            writeln!(std::io::stdout(), "{output}")?;
        }
        Ok(())
    }
}
