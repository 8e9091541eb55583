//! The architectures: what each is called, what it can do and what can be adjusted.

mod generation;
mod moe;
mod text;

pub use self::moe::MOE;
pub use self::text::TEXT;
use crate::parameter::ParameterSpec;
use crate::task::TaskSpec;

/// One architecture.
#[derive(Debug, PartialEq)]
pub struct ArchitectureSpec {
    /// The canonical name.
    pub name: &'static str,
    /// Other accepted spellings.
    pub aliases: &'static [&'static str],
    /// The type in `pipelines::arch` that stands for it.
    pub type_name: &'static str,
    /// What it is, in a sentence.
    pub description: &'static str,
    /// What it can do; the first is the default.
    pub tasks: &'static [&'static TaskSpec],
    /// What can be adjusted.
    pub parameters: &'static [ParameterSpec],
    /// The pipelines it works with.
    pub parts: &'static [PartSpec],
    /// The values of `model_type` in `config.json` that belong to it.
    pub model_types: &'static [&'static str],
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

/// Every architecture there is.
pub const ARCHITECTURES: [&ArchitectureSpec; 2] = [&MOE, &TEXT];

impl ArchitectureSpec {
    /// Whether `name` is this architecture's name or an alias of it.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
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
        }
    }

    #[test]
    fn aliases_are_canonicalised() {
        for (word, name) in
            [("decoder-only", "text"), ("encoder_decoder", "text"), ("mixture_of_experts", "moe")]
        {
            assert_eq!(find(word).unwrap().name, name);
        }
        assert_eq!(of_model_type("qwen2").unwrap(), &TEXT);
        assert!(of_model_type("Qwen2").is_none());
    }
}
