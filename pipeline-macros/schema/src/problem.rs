//! What a broken rule says, and about what.

use std::fmt;

/// What a problem is about, so that the macro can mark the token at fault and the loader can name the setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `arch = ...`.
    Arch,
    /// `task = ...`.
    Task,
    /// `hardware = [...]`.
    Hardware,
    /// `model = ...`: the checkpoint itself.
    Model,
    /// `dtype = ...`.
    Dtype,
    /// A pipeline that is a part: `generator = ...`.
    Part(String),
    /// The value of a parameter.
    Parameter(String),
}

/// A broken rule: what is wrong, as rustc writes it, and where the fact it contradicts was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is about.
    pub subject: Subject,
    /// What is wrong and what to write instead: lower case, code in backticks, no full stop.
    pub message: String,
    /// Where the contradicting fact stands: `config.json: num_local_experts = 8`.
    pub source: Option<String>,
}

impl Problem {
    /// A problem about `subject`.
    pub fn new(subject: Subject, message: impl Into<String>) -> Problem {
        Problem { subject, message: message.into(), source: None }
    }

    /// The same problem, naming where the contradicting fact stands.
    pub fn found_in(mut self, source: impl Into<String>) -> Problem {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(formatter, " ({source})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// `text` between backticks, on one line and at most 120 characters: names from a file are not to be trusted.
pub(crate) fn quoted(text: &str) -> String {
    const LIMIT: usize = 120;
    let mut quoted = String::from("`");
    let mut characters = text.chars();
    for character in characters.by_ref().take(LIMIT) {
        if character.is_control() {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted.push_str(if characters.next().is_some() { "...`" } else { "`" });
    quoted
}
