//! What a checkpoint is, what it can do and what fits into memory, from its header alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use pipeline_schema::{DType, Hardware, Problem, Subject, arch, rules};
use serde::Serialize;
use sysinfo::System;

use crate::error::{Error, Result};
use crate::hardware::obstacle;

/// What a checkpoint says of itself, and what this machine can do with it.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The directory.
    pub model: String,
    /// `model_type` in `config.json`.
    pub model_type: String,
    /// The architecture it belongs to.
    pub architecture: &'static str,
    /// The tasks it can do.
    pub tasks: Vec<&'static str>,
    /// All parameters.
    pub parameters: u64,
    /// Parameters that one token meets.
    pub active_parameters: u64,
    /// Experts in a layer and those that a token visits.
    pub experts: Option<(usize, usize)>,
    /// Bytes of weights by number format, as stored.
    pub stored: BTreeMap<String, u64>,
    /// Weight files.
    pub files: usize,
    /// Tensors in them.
    pub tensors: usize,
    /// The longest sequence, in tokens.
    pub context: Option<usize>,
    /// Tokens in the vocabulary.
    pub vocabulary: Option<usize>,
    /// The hash of the headers, which a compiled declaration is tied to.
    pub header_hash: String,
    /// Bytes of memory that are free on this machine.
    pub available_memory: u64,
    /// For each number format, what it needs and whether that fits.
    pub memory: Vec<MemoryEstimate>,
    /// For each kind of hardware, why it cannot be used, or nothing.
    pub hardware: Vec<(Hardware, Option<String>)>,
    /// Rules that the checkpoint breaks.
    pub problems: Vec<String>,
}

/// The memory that a number format needs on the processor.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryEstimate {
    /// The number format of the weights.
    pub dtype: DType,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of keys and values for a sequence as long as the context; they are kept in `f32`.
    pub cache: u64,
    /// Whether weights and the cache of one such sequence fit into the free memory.
    pub fits: bool,
    /// The longest sequence whose cache fits beside the weights, in tokens.
    pub longest: u64,
}

impl Inspection {
    /// Inspects the checkpoint in `directory`.
    ///
    /// # Errors
    /// The checkpoint is missing or so malformed that nothing can be said of it.
    pub fn of(directory: &Path) -> Result<Inspection> {
        let facts = pipeline_schema::checkpoint::Checkpoint::read(directory)?;
        let model = facts.model().map_err(|problems| Error::Rules { problems })?;
        let head = facts.head()?;
        let architecture = arch::of_model_type(model.model_type())
            .expect("every model type with a configuration belongs to an architecture");
        let request = |task| rules::Request::new(architecture, task, vec![Hardware::Cpu]);
        let mut problems = rules::check_checkpoint(&facts, &request(architecture.default_task()));
        // That it cannot do a task is no defect of a checkpoint.
        let about_task = |problem: &Problem| problem.subject == Subject::Task;
        problems.retain(|problem| !about_task(problem));
        let able = architecture
            .running_tasks()
            .filter(|task| !rules::check_checkpoint(&facts, &request(task)).iter().any(about_task));

        let available_memory = available_memory();
        let context = model.attention().map(|attention| attention.context);
        let cache_bytes = |tokens| model.cache_bytes(tokens, DType::F32);
        let memory = [DType::F32, DType::BF16].map(|dtype| {
            let weights = model.weight_bytes(head, dtype);
            let longest = context.unwrap_or(0) as u64;
            let cache = cache_bytes(longest);
            let fits = |tokens| weights.saturating_add(cache_bytes(tokens)) <= available_memory;
            MemoryEstimate { dtype, weights, cache, fits: fits(longest), longest: greatest(longest, fits) }
        });
        let mut stored = BTreeMap::new();
        for (_, tensor) in facts.tensors().iter() {
            *stored.entry(tensor.dtype.name().to_lowercase()).or_insert(0) +=
                tensor.range.end - tensor.range.start;
        }
        Ok(Inspection {
            model: directory.display().to_string(),
            model_type: model.model_type().to_owned(),
            architecture: architecture.name,
            tasks: able.map(|task| task.name).collect(),
            parameters: model.parameter_count(head),
            active_parameters: model.active_parameter_count(head),
            experts: model.experts().map(|experts| (experts.count, experts.active)),
            stored,
            files: facts.files().len(),
            tensors: facts.tensors().len(),
            context,
            vocabulary: model.vocab_size(),
            header_hash: format!("{:016x}", facts.header_hash()),
            available_memory,
            memory: memory.to_vec(),
            hardware: Hardware::ALL.map(|hardware| (hardware, obstacle(hardware))).to_vec(),
            problems: problems.iter().map(ToString::to_string).collect(),
        })
    }
}

/// The greatest number up to `limit` that holds, where all below it hold; 0 where none does.
fn greatest(limit: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, limit);
    while low < high {
        let middle = high - (high - low) / 2;
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

/// Bytes of memory that a program can still have; 0 where the system does not say.
fn available_memory() -> u64 {
    let Ok(mut system) = System::new() else { return 0 };
    system.refresh_memory();
    system.available_memory()
}

/// A size in the unit that reads best: `5.6 MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A count in the unit that reads best: `2.7 M`.
fn count(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{:.1} k", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", number as f64 / 1e6),
        _ => format!("{:.2} G", number as f64 / 1e9),
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |label: &str, value: String| writeln!(formatter, "{label:<14}{value}");
        line("model", self.model.clone())?;
        line("architecture", format!("{} ({})", self.architecture, self.model_type))?;
        line("tasks", if self.tasks.is_empty() { "none".to_owned() } else { self.tasks.join(", ") })?;
        let (all, active) = (count(self.parameters), count(self.active_parameters));
        line("parameters", format!("{all}, of which a token meets {active}"))?;
        if let Some((experts, active)) = self.experts {
            line("experts", format!("{experts} a layer, {active} a token"))?;
        }
        let stored: Vec<String> =
            self.stored.iter().map(|(dtype, bytes)| format!("{} in {dtype}", size(*bytes))).collect();
        line("stored", format!("{} ({} files, {} tensors)", stored.join(", "), self.files, self.tensors))?;
        if let Some(context) = self.context {
            line("context", format!("{context} tokens"))?;
        }
        if let Some(vocabulary) = self.vocabulary {
            line("vocabulary", format!("{vocabulary} tokens"))?;
        }
        line("header hash", self.header_hash.clone())?;
        line("free memory", size(self.available_memory))?;
        for estimate in &self.memory {
            let needs = format!("{} of weights, {} of cache", size(estimate.weights), size(estimate.cache));
            let verdict = match (estimate.fits, estimate.longest) {
                (true, _) => "fits".to_owned(),
                (false, 0) => "does not fit".to_owned(),
                (false, longest) => format!("fits up to {longest} tokens"),
            };
            line(&format!("  in {}", estimate.dtype), format!("{needs}: {verdict}"))?;
        }
        for (hardware, obstacle) in &self.hardware {
            line(&format!("  on {hardware}"), obstacle.clone().unwrap_or_else(|| "available".to_owned()))?;
        }
        for problem in &self.problems {
            line("problem", problem.clone())?;
        }
        Ok(())
    }
}
