use pipelines::prelude::*;

#[pipeline(arch = moe, custom(preprocess, route), custom(infer, format))]
struct Storyteller {
    exclamation_marks: usize,
}

impl Preprocess for Storyteller {
    fn preprocess(&self, call: &CallOf<'_, Self>, inputs: Vec<InputOf<Self>>) -> Result<PreparedOf<Self>> {
        pipelines::declared::preprocess::<Self>(call, inputs)
    }
}

impl Route for Storyteller {
    fn route(&self, call: &CallOf<'_, Self>, prepared: &PreparedOf<Self>) -> Result<PlanOf<Self>> {
        pipelines::declared::route::<Self>(call, prepared)
    }
}

impl Infer for Storyteller {
    fn infer(
        &self,
        call: &CallOf<'_, Self>,
        prepared: PreparedOf<Self>,
        plan: PlanOf<Self>,
    ) -> Result<RawOf<Self>> {
        pipelines::declared::infer::<Self>(call, prepared, plan)
    }
}

impl Format for Storyteller {
    type Output = String;

    fn format(&self, call: &CallOf<'_, Self>, raw: RawOf<Self>) -> Result<Vec<String>> {
        let stories = pipelines::declared::format::<Self>(call, raw)?;
        Ok(stories.into_iter().map(|story| story.text + &"!".repeat(self.exclamation_marks)).collect())
    }
}

fn main() {
    let _ = |teller: Pipeline<Storyteller>| -> Result<String> { Ok(teller.run("Once upon a time")?.output) };
}
