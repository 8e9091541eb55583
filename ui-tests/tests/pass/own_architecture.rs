//! An architecture of the user's own uses nothing but what is public.

use pipelines::checkpoint::CheckpointFiles;
use pipelines::prelude::*;
use pipelines::task::{FeatureExtraction, MaskGeneration, Task};
use pipelines::{Architecture, Call, LoadOptions, Parameters, TaskSpec, Value};

struct Bags;

enum Counting {}

impl Task for Counting {
    const SPEC: &'static TaskSpec = &TaskSpec {
        name: "counting",
        aliases: &[],
        type_name: "Counting",
        description: "counts words",
    };
}

#[derive(Clone, Copy, Default, PartialEq, Debug)]
enum Pooling {
    #[default]
    Mean,
    Max,
}

/// Where the bags stand.
#[derive(Clone, Debug, Default, PartialEq)]
struct Places(Vec<[f32; 2]>);

#[derive(Clone, Default)]
struct BagParameters {
    pooling: Option<Pooling>,
    num_bags: usize,
    places: Places,
}

impl Parameters for BagParameters {
    fn values(&self) -> Vec<(&'static str, Value)> {
        vec![("num_bags", Value::Integer(self.num_bags as i128))]
    }
}

impl pipelines::declared::IntoParameter<Option<Pooling>> for Pooling {
    fn assign(&self, parameter: &mut Option<Pooling>) -> Result<()> {
        *parameter = Some(*self);
        Ok(())
    }
}

impl pipelines::declared::IntoParameter<Places> for Vec<[f32; 2]> {
    fn assign(&self, parameter: &mut Places) -> Result<()> {
        parameter.0.clone_from(self);
        Ok(())
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
        BagParameters::default()
    }

    fn preprocess(_: &Call<'_, Self, T>, inputs: Vec<String>) -> Result<Vec<String>> {
        Ok(inputs)
    }

    fn route(_: &Call<'_, Self, T>, _: &Vec<String>) -> Result<()> {
        Ok(())
    }

    fn infer(_: &Call<'_, Self, T>, prepared: Vec<String>, (): ()) -> Result<Vec<usize>> {
        Ok(prepared.iter().map(String::len).collect())
    }

    fn format(_: &Call<'_, Self, T>, raw: Vec<usize>) -> Result<Vec<usize>> {
        Ok(raw)
    }
}

#[pipeline(arch = crate::Bags, task = feature-extraction, hardware = cpu)]
struct Reader {
    #[param(default = Pooling::Max)]
    pooling: Pooling,
    #[param(default = 2 + 2)]
    num_bags: usize,
    #[param(default = [[0.5, 1.0], [2.0, -3.0]])]
    places: Vec<[f32; 2]>,
}

#[pipeline(arch = Bags, task = Counting)]
struct Counter;

// A task that no architecture of the crate does yet.
#[pipeline(arch = Bags, task = "mask_generation")]
struct Cutter;

fn same<T>(_: std::marker::PhantomData<T>, _: std::marker::PhantomData<T>) {}

fn main() {
    use std::marker::PhantomData as Type;
    same(Type::<<Reader as Declaration>::Task>, Type::<FeatureExtraction>);
    same(Type::<<Counter as Declaration>::Task>, Type::<Counting>);
    same(Type::<<Cutter as Declaration>::Task>, Type::<MaskGeneration>);
    let mut parameters = BagParameters::default();
    let reader = <Reader as pipelines::Declared>::declared();
    reader.configure(&mut parameters).unwrap();
    assert_eq!((parameters.pooling, parameters.num_bags), (Some(Pooling::Max), 4));
    assert_eq!(parameters.places, Places(vec![[0.5, 1.0], [2.0, -3.0]]));
}
