use pipelines::checkpoint::CheckpointFiles;
use pipelines::prelude::*;
use pipelines::task::Task;
use pipelines::{Architecture, Call, LoadOptions, Parameters, Value};

struct Bags;

#[derive(Clone)]
struct BagParameters {
    num_bags: usize,
}

impl Parameters for BagParameters {
    fn values(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
}

impl<T: Task> Architecture<T> for Bags {
    const NAME: &'static str = "bags";
    type Parameters = BagParameters;
    type Input = String;
    type Prepared = Vec<String>;
    type Plan = ();
    type Raw = Vec<usize>;
    type Output = usize;
    type Model = ();
    type Parts = ();

    fn load(_: &CheckpointFiles, (): (), _: &LoadOptions) -> Result<()> {
        Ok(())
    }

    fn parameters((): &()) -> BagParameters {
        BagParameters { num_bags: 1 }
    }

    fn preprocess(_: &Call<'_, Self, T>, inputs: Vec<String>) -> Result<Vec<String>> {
        Ok(inputs)
    }

    fn route(_: &Call<'_, Self, T>, _: &Vec<String>) -> Result<()> {
        Ok(())
    }

    fn infer(_: &Call<'_, Self, T>, _: Vec<String>, (): ()) -> Result<Vec<usize>> {
        Ok(Vec::new())
    }

    fn format(_: &Call<'_, Self, T>, raw: Vec<usize>) -> Result<Vec<usize>> {
        Ok(raw)
    }
}

#[pipeline(arch = Bags, task = feature-extraction)]
struct Reader {
    #[param(default = 2)]
    num_bag: usize,
}

fn main() {}
