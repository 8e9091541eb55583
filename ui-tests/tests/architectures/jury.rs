//! An architecture that takes parts: a generator, and an embedder where one is declared.

use pipelines::checkpoint::CheckpointFiles;
use pipelines::parts::{Part, Parts};
use pipelines::prelude::*;
use pipelines::task::{FeatureExtraction, Task, TextGeneration};
use pipelines::{Architecture, Call, LoadOptions, Parameters, PartSpec, TaskSpec, Value};

pub enum Vote {}

impl Task for Vote {
    const SPEC: &'static TaskSpec =
        &TaskSpec { name: "vote", aliases: &[], type_name: "Vote", description: "votes" };
}

pub enum Jury {}

#[derive(Default)]
pub struct JuryParts {
    pub generator: Part<TextGeneration>,
    pub embedder: Part<FeatureExtraction>,
}

impl Parts for JuryParts {
    const SPECS: &'static [PartSpec] = &[
        PartSpec { name: "generator", task: TextGeneration::SPEC, required: true, description: "answers" },
        PartSpec { name: "embedder", task: FeatureExtraction::SPEC, required: false, description: "compares" },
    ];
}

#[derive(Clone)]
pub struct JuryParameters;

impl Parameters for JuryParameters {
    fn values(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
}

impl Architecture<Vote> for Jury {
    const NAME: &'static str = "jury";
    type Parameters = JuryParameters;
    type Input = String;
    type Prepared = Vec<String>;
    type Plan = ();
    type Raw = Vec<String>;
    type Output = String;
    type Model = JuryParts;
    type Parts = JuryParts;

    fn load(_: &CheckpointFiles, parts: JuryParts, _: &LoadOptions) -> Result<JuryParts> {
        Ok(parts)
    }

    fn assemble(parts: JuryParts, _: &LoadOptions) -> Result<Option<JuryParts>> {
        Ok(Some(parts))
    }

    fn parameters(_: &JuryParts) -> JuryParameters {
        JuryParameters
    }

    fn preprocess(_: &Call<'_, Self, Vote>, inputs: Vec<String>) -> Result<Vec<String>> {
        Ok(inputs)
    }

    fn route(_: &Call<'_, Self, Vote>, _: &Vec<String>) -> Result<()> {
        Ok(())
    }

    fn infer(call: &Call<'_, Self, Vote>, inputs: Vec<String>, (): ()) -> Result<Vec<String>> {
        let answer = |input: &String| Ok(call.model.generator.run(input)?.completion);
        inputs.iter().map(answer).collect()
    }

    fn format(_: &Call<'_, Self, Vote>, raw: Vec<String>) -> Result<Vec<String>> {
        Ok(raw)
    }
}
