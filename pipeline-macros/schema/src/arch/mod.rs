//! The architectures: what each is called, what it can do and what can be adjusted.

mod audio;
mod diffusion;
mod generation;
mod moe;
mod multimodal;
mod rag;
mod state_space;
mod text;
mod vision;
mod vision_text;

pub use self::audio::AUDIO;
pub use self::diffusion::DIFFUSION;
pub use self::moe::MOE;
pub use self::multimodal::MULTIMODAL;
pub use self::rag::RAG;
pub use self::state_space::STATE_SPACE;
pub use self::text::TEXT;
pub use self::vision::VISION;
pub use self::vision_text::VISION_TEXT;
use crate::parameter::ParameterSpec;
use crate::task::TaskSpec;

/// One architecture.
#[derive(Debug, PartialEq)]
pub struct ArchitectureSpec {
    /// The canonical name.
    pub name: &'static str,
    /// Other accepted spellings, besides each with `_` for `-`.
    pub aliases: &'static [&'static str],
    /// The type in `pipelines::arch` that stands for it.
    pub type_name: &'static str,
    /// What it is, in a sentence.
    pub description: &'static str,
    /// What it can do; the first is the default.
    pub tasks: &'static [&'static TaskSpec],
    /// What can be adjusted, each name once.
    pub parameters: &'static [ParameterSpec],
    /// The pipelines it works with.
    pub parts: &'static [PartSpec],
    /// The values of `model_type` in `config.json` that belong to it.
    pub model_types: &'static [&'static str],
    /// How much of it runs.
    pub runs: Runs,
}

/// How much of an architecture this version runs. What does not run is in the tables all the same, so that a declaration
/// of it is told so, and of its other mistakes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Runs {
    /// Nothing yet.
    Nothing,
    /// All but these.
    AllBut {
        /// Tasks that it cannot do yet.
        tasks: &'static [&'static TaskSpec],
        /// Parameters that cannot be set yet, by name.
        parameters: &'static [&'static str],
    },
}

/// A pipeline that is a part of another: `generator = Storyteller`.
#[derive(Debug, PartialEq)]
pub struct PartSpec {
    /// The key in a declaration.
    pub name: &'static str,
    /// What the part must do.
    pub task: &'static TaskSpec,
    /// Whether every declaration names one.
    pub required: bool,
    /// What it is for, in a sentence.
    pub description: &'static str,
}

/// Every architecture there is, those that run first.
pub const ARCHITECTURES: [&ArchitectureSpec; 9] =
    [&MOE, &TEXT, &VISION, &VISION_TEXT, &AUDIO, &MULTIMODAL, &DIFFUSION, &STATE_SPACE, &RAG];

impl ArchitectureSpec {
    /// Whether `name` is this architecture's name or an alias of it, with `_` or `-`.
    pub fn answers_to(&self, name: &str) -> bool {
        let name = name.replace('_', "-");
        self.name == name || self.aliases.contains(&name.as_str())
    }

    /// The task that `name` or an alias stands for under this architecture.
    pub fn task(&self, name: &str) -> Option<&'static TaskSpec> {
        let by = |answers: fn(&TaskSpec, &str) -> bool| {
            self.tasks.iter().copied().find(|task| answers(task, name))
        };
        by(|task, name| task.name == name).or_else(|| by(TaskSpec::answers_to))
    }

    /// The parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&'static ParameterSpec> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// The part of this name.
    pub fn part(&self, name: &str) -> Option<&'static PartSpec> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The task done when a declaration names none.
    pub fn default_task(&self) -> &'static TaskSpec {
        self.tasks[0]
    }

    /// Whether this version runs any of it.
    pub fn runs(&self) -> bool {
        self.runs != Runs::Nothing
    }

    /// Whether it can do the task, in this version.
    pub fn runs_task(&self, task: &TaskSpec) -> bool {
        match self.runs {
            Runs::Nothing => false,
            Runs::AllBut { tasks, .. } => self.tasks.contains(&task) && !tasks.contains(&task),
        }
    }

    /// Whether it has the parameter, and this version lets it be set.
    pub fn runs_parameter(&self, name: &str) -> bool {
        match self.runs {
            Runs::Nothing => false,
            Runs::AllBut { parameters, .. } => self.parameter(name).is_some() && !parameters.contains(&name),
        }
    }

    /// The tasks that this version does.
    pub fn running_tasks(&self) -> impl Iterator<Item = &'static TaskSpec> + Clone {
        self.tasks.iter().copied().filter(|task| self.runs_task(task))
    }
}

/// The architectures that this version runs.
pub fn running() -> impl Iterator<Item = &'static ArchitectureSpec> + Clone {
    ARCHITECTURES.into_iter().filter(|architecture| architecture.runs())
}

/// The architecture that `name` or an alias stands for.
///
/// ```
/// assert_eq!(pipeline_schema::arch::find("sparse").unwrap().name, "moe");
/// ```
pub fn find(name: &str) -> Option<&'static ArchitectureSpec> {
    ARCHITECTURES.into_iter().find(|architecture| architecture.answers_to(name))
}

/// The architecture that a `model_type` belongs to. The type is compared exactly.
pub fn of_model_type(model_type: &str) -> Option<&'static ArchitectureSpec> {
    ARCHITECTURES.into_iter().find(|architecture| architecture.model_types.contains(&model_type))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::parameter::Value;
    use crate::task::TASKS;

    /// Asserts that no word is listed twice.
    fn distinct(words: impl Iterator<Item = &'static str>) {
        let mut seen = BTreeSet::new();
        for word in words {
            assert!(seen.insert(word), "`{word}` is listed twice");
        }
    }

    #[test]
    fn every_word_stands_for_one_architecture() {
        distinct(ARCHITECTURES.iter().flat_map(|spec| [&[spec.name], spec.aliases].concat()));
        distinct(ARCHITECTURES.iter().flat_map(|spec| spec.model_types).copied());
        distinct(ARCHITECTURES.iter().map(|spec| spec.type_name));
        for spec in ARCHITECTURES {
            distinct(spec.parameters.iter().map(|parameter| parameter.name));
            distinct(spec.tasks.iter().flat_map(|task| [&[task.name], task.aliases].concat()));
            distinct(spec.parts.iter().map(|part| part.name));
        }
    }

    #[test]
    fn every_task_has_an_architecture_and_one_name() {
        distinct(TASKS.iter().map(|task| task.name));
        distinct(TASKS.iter().map(|task| task.type_name));
        for task in TASKS {
            assert!(ARCHITECTURES.iter().any(|spec| spec.tasks.contains(task)), "{}", task.name);
        }
        let known = |task: &&TaskSpec| TASKS.contains(task);
        assert!(ARCHITECTURES.iter().flat_map(|spec| spec.tasks).all(known));
    }

    #[test]
    fn a_parameter_is_of_a_task_that_its_architecture_has() {
        for spec in ARCHITECTURES {
            for parameter in spec.parameters {
                let fits = spec.tasks.iter().any(|task| parameter.is_of(task));
                assert!(fits, "{}: {}", spec.name, parameter.name);
            }
        }
    }

    #[test]
    fn a_default_that_is_a_value_is_one_that_the_parameter_can_have() {
        for parameter in ARCHITECTURES.iter().flat_map(|spec| spec.parameters) {
            let choice = parameter.default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            let value = match (parameter.default, choice) {
                ("true" | "false", _) => Value::Boolean(parameter.default == "true"),
                (_, Some(word)) => Value::Text(word.to_owned()),
                (number, None) => match (number.parse(), number.parse()) {
                    (Ok(whole), _) => Value::Integer(whole),
                    (_, Ok(number)) => Value::Float(number),
                    _ => continue,
                },
            };
            parameter.kind.check(parameter.name, &value).unwrap();
        }
    }

    #[test]
    fn what_does_not_run_yet_is_one_of_the_architectures_own() {
        let names: Vec<&str> = running().map(|spec| spec.name).collect();
        assert_eq!(names, ["moe", "text"]);
        assert!(ARCHITECTURES.is_sorted_by_key(|spec| !spec.runs()), "those that run stand first");
        for spec in ARCHITECTURES {
            let Runs::AllBut { tasks, parameters } = spec.runs else {
                assert_eq!(spec.model_types, [""; 0], "{} runs", spec.name);
                continue;
            };
            assert!(tasks.iter().all(|task| spec.tasks.contains(task)), "{}", spec.name);
            assert!(parameters.iter().all(|name| spec.parameter(name).is_some()), "{}", spec.name);
            assert!(spec.runs_task(spec.default_task()), "{}", spec.name);
        }
    }

    #[test]
    fn aliases_are_canonicalised() {
        for (word, name) in [
            ("decoder-only", "text"),
            ("encoder_decoder", "text"),
            ("mixture_of_experts", "moe"),
            ("vision_encoder_text_decoder", "vision-text"),
            ("speech", "audio"),
            ("sam", "diffusion"),
            ("text-to-image", "diffusion"),
            ("rwkv", "state-space"),
            ("retrieval-augmented-generation", "rag"),
        ] {
            assert_eq!(find(word).unwrap().name, name);
        }
        assert_eq!(of_model_type("qwen2").unwrap(), &TEXT);
        assert!(of_model_type("Qwen2").is_none());
    }

    #[test]
    fn a_word_stands_for_the_task_of_its_architecture() {
        for (spec, word, name) in [
            (&TEXT, "text_embedding", "feature-extraction"),
            (&RAG, "generative_qa", "question-answering"),
            (&DIFFUSION, "image_generation", "text-to-image"),
            (&DIFFUSION, "image_segmentation", "mask-generation"),
            (&VISION, "image_segmentation", "image-segmentation"),
        ] {
            assert_eq!(spec.task(word).unwrap().name, name);
        }
        assert!(MOE.task("image_segmentation").is_none());
    }
}
