use pipelines::prelude::*;

#[pipeline(
    arch = moe,
    preprocess = stages::preprocess,
    route = stages::route,
    infer = self::stages::infer,
    format = crate::stages::format,
)]
struct Storyteller;

mod stages {
    use pipelines::prelude::*;

    use super::Storyteller as S;

    pub fn preprocess(_: &S, call: &CallOf<'_, S>, inputs: Vec<InputOf<S>>) -> Result<PreparedOf<S>> {
        pipelines::declared::preprocess::<S>(call, inputs)
    }

    pub fn route(_: &S, call: &CallOf<'_, S>, prepared: &PreparedOf<S>) -> Result<PlanOf<S>> {
        pipelines::declared::route::<S>(call, prepared)
    }

    pub fn infer<D: Declaration>(
        _: &D,
        call: &CallOf<'_, D>,
        prepared: PreparedOf<D>,
        plan: PlanOf<D>,
    ) -> Result<RawOf<D>> {
        pipelines::declared::infer::<D>(call, prepared, plan)
    }

    pub fn format(_: &S, call: &CallOf<'_, S>, raw: RawOf<S>) -> Result<Vec<OutputOf<S>>> {
        pipelines::declared::format::<S>(call, raw)
    }
}

fn main() {
    let _ = |teller: Pipeline<Storyteller>| teller.run("Once upon a time").map(|story| story.output);
}
