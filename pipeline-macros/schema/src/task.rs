//! What a pipeline can be asked to do, in the words of Hugging Face.

/// A task: its name, the second spelling it answers to, and the marker type that stands for it in Rust.
#[derive(Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// The name as Hugging Face writes it.
    pub name: &'static str,
    /// Other accepted spellings.
    pub aliases: &'static [&'static str],
    /// The type in `pipelines::task` that stands for it.
    pub type_name: &'static str,
    /// What goes in and what comes out, in a sentence.
    pub description: &'static str,
}

/// A prompt is continued.
pub const TEXT_GENERATION: TaskSpec = TaskSpec {
    name: "text-generation",
    aliases: &["text_generation"],
    type_name: "TextGeneration",
    description: "continues a prompt or answers a conversation",
};

/// A text becomes a vector.
pub const FEATURE_EXTRACTION: TaskSpec = TaskSpec {
    name: "feature-extraction",
    aliases: &["feature_extraction", "text_embedding", "text-embedding"],
    type_name: "FeatureExtraction",
    description: "turns a text into a vector",
};

/// Every task there is.
pub const TASKS: [&TaskSpec; 2] = [&TEXT_GENERATION, &FEATURE_EXTRACTION];

impl TaskSpec {
    /// Whether `name` is this task's name or an alias of it.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// The task that `name` or an alias stands for.
pub fn find(name: &str) -> Option<&'static TaskSpec> {
    TASKS.into_iter().find(|task| task.answers_to(name))
}
