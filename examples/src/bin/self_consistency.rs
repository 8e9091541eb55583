//! A pipeline that is a part of another: asks a generator the same question several times and takes the answer that
//! most samples agree on.
//!
//! Self-consistency (Wang et al. 2022, <https://arxiv.org/abs/2203.11171>): samples of a language model err in different
//! ways and are right in one. The architecture takes a part, `generator`, which may be any pipeline that generates text;
//! the declaration at the bottom names one. It has no model of its own, and is defined with what every crate can use.
//!
//! ```text
//! cargo run --release --bin self_consistency -- "Sum: 23 + 45 ="
//! ```

use std::fmt;

use pipelines::arch::moe::Prompt;
use pipelines::checkpoint::CheckpointFiles;
use pipelines::parts::{Part, Parts};
use pipelines::prelude::*;
use pipelines::task::{Task, TextGeneration};
use pipelines::{Architecture, Call, LoadOptions, Parameters, PartSpec, TaskSpec, Value};

/// The task: answers a question by the majority of several answers.
enum MajorityAnswer {}

impl Task for MajorityAnswer {
    const SPEC: &'static TaskSpec = &TaskSpec {
        name: "majority-answer",
        aliases: &[],
        type_name: "MajorityAnswer",
        description: "answers a question by the majority of several answers",
    };
}

/// The architecture.
enum SelfConsistency {}

/// The pipelines it works with.
#[derive(Default)]
struct SelfConsistencyParts {
    generator: Part<TextGeneration>,
}

impl Parts for SelfConsistencyParts {
    const SPECS: &'static [PartSpec] = &[PartSpec {
        name: "generator",
        task: TextGeneration::SPEC,
        required: true,
        description: "gives the answers that are counted",
    }];
}

/// What is adjustable.
#[derive(Clone)]
struct SelfConsistencyParameters {
    /// Answers that are sampled for a question.
    num_samples: usize,
}

impl Parameters for SelfConsistencyParameters {
    fn values(&self) -> Vec<(&'static str, Value)> {
        vec![("num_samples", Value::Integer(self.num_samples as i128))]
    }
}

/// The answer, and how many samples agree on it.
#[derive(Debug, PartialEq)]
struct Majority {
    answer: String,
    votes: usize,
    samples: usize,
}

impl fmt::Display for Majority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({} of {} samples)", self.answer, self.votes, self.samples)
    }
}

impl Architecture<MajorityAnswer> for SelfConsistency {
    const NAME: &'static str = "self-consistency";

    type Parameters = SelfConsistencyParameters;
    type Input = String;
    type Prepared = Vec<String>;
    /// Samples of each question.
    type Plan = usize;
    /// The sampled answers of each question.
    type Raw = Vec<Vec<String>>;
    type Output = Majority;
    type Model = SelfConsistencyParts;
    type Parts = SelfConsistencyParts;

    fn load(_: &CheckpointFiles, _: SelfConsistencyParts, _: &LoadOptions) -> Result<SelfConsistencyParts> {
        Err(Error::input("`self-consistency` has no model of its own; declare it without `model`"))
    }

    fn assemble(parts: SelfConsistencyParts, _: &LoadOptions) -> Result<Option<SelfConsistencyParts>> {
        Ok(Some(parts))
    }

    fn parameters(_: &SelfConsistencyParts) -> SelfConsistencyParameters {
        SelfConsistencyParameters { num_samples: 5 }
    }

    fn preprocess(_: &Call<'_, Self, MajorityAnswer>, inputs: Vec<String>) -> Result<Vec<String>> {
        Ok(inputs)
    }

    fn route(call: &Call<'_, Self, MajorityAnswer>, _: &Vec<String>) -> Result<usize> {
        match call.parameters.num_samples {
            0 => Err(Error::Parameter("`num_samples` is 0, but must be at least 1".to_owned())),
            samples => Ok(samples),
        }
    }

    fn infer(
        call: &Call<'_, Self, MajorityAnswer>,
        questions: Vec<String>,
        samples: usize,
    ) -> Result<Vec<Vec<String>>> {
        let prompts =
            questions.iter().flat_map(|question| vec![Prompt::from(question); samples]).collect::<Vec<_>>();
        let answers = call.model.generator.run_batch(prompts)?;
        let answers: Vec<String> =
            answers.into_iter().map(|answer| answer.completion.trim().to_owned()).collect();
        Ok(answers.chunks(samples).map(<[String]>::to_vec).collect())
    }

    fn format(_: &Call<'_, Self, MajorityAnswer>, raw: Vec<Vec<String>>) -> Result<Vec<Majority>> {
        let majority = |answers: Vec<String>| {
            let votes = |answer: &String| answers.iter().filter(|other| *other == answer).count();
            let (votes, answer) =
                answers.iter().map(|answer| (votes(answer), answer)).max().expect("there is a sample");
            Majority { answer: answer.clone(), votes, samples: answers.len() }
        };
        Ok(raw.into_iter().map(majority).collect())
    }
}

/// Samples stories, sums, weather reports and recipes.
#[pipeline(arch = moe, hardware = [cuda, rocm, cpu], model = "checkpoints/storyteller-moe")]
struct Storyteller {
    #[param(default = 12)]
    max_new_tokens: usize,
    /// So high that samples err.
    #[param(default = 2.0)]
    temperature: f32,
    #[param(default = 1.0)]
    top_p: f32,
    #[param(default = 3)]
    seed: u64,
}

/// Counts what the storyteller says.
#[pipeline(
    arch = SelfConsistency,
    task = MajorityAnswer,
    hardware = [cuda, rocm, cpu],
    generator = Storyteller,
)]
struct Counter {
    #[param(default = 9, range = 1..=100)]
    num_samples: usize,
}

fn main() -> Result<()> {
    let question = std::env::args().nth(1).unwrap_or_else(|| "Sum: 23 + 45 =".to_owned());
    let counter = Counter::load()?;
    println!("{question} {}", counter.run(&question)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn sum(left: usize, right: usize) -> (String, String) {
        (format!("Sum: {left} + {right} ="), (left + right).to_string())
    }

    #[test]
    fn the_majority_is_right_where_a_sample_errs() {
        let sums = [(23, 45), (71, 8), (19, 34), (60, 27)].map(|(left, right)| sum(left, right));
        let answers =
            Counter::load().unwrap().run_batch(sums.iter().map(|(question, _)| question.clone())).unwrap();
        for ((question, right), found) in sums.iter().zip(answers.iter()) {
            assert_eq!((found.answer.as_str(), found.samples), (right.as_str(), 9), "{question} {found}");
        }
        let unanimous = answers.iter().filter(|found| found.votes == found.samples).count();
        assert!(unanimous < answers.len(), "no sample errs, so that nothing is shown: {answers:?}");
    }

    #[test]
    fn the_part_runs_where_the_pipeline_runs() {
        let counter = Counter::builder().hardware([Hardware::Cpu]).load().unwrap();
        assert_eq!(counter.hardware(), Hardware::Cpu);
        assert_eq!(counter.model().generator.hardware(), Some(Hardware::Cpu));
    }

    #[test]
    fn a_part_that_is_loaded_already_is_used_in_place_of_the_declared_one() {
        let greedy = Storyteller { max_new_tokens: 4, temperature: 0.0, top_p: 1.0, seed: 0 };
        let teller = Arc::new(greedy.into_builder().load().unwrap());
        let counter =
            Counter::builder().parts(|parts| parts.generator = Arc::clone(&teller).into()).load().unwrap();
        let (question, right) = sum(23, 45);
        let found = counter.run(&question).unwrap();
        assert_eq!(found.output, Majority { answer: right, votes: 9, samples: 9 });
        assert!(teller.run(question).unwrap().text.contains("68"));
    }
}
