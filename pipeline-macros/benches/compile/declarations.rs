//! The sources that are compared.

const EMPTY: &str = "fn main() {}\n";

pub(super) fn empty() -> String {
    EMPTY.to_owned()
}

/// So many declared pipelines, with these keys more.
pub(super) fn pipelines(count: usize, keys: &str) -> String {
    let mut source = format!("#![allow(dead_code)]\nuse pipelines::prelude::*;\n\n{EMPTY}");
    for number in 0..count {
        source += &format!(
            "
/// Tells stories.
#[pipeline(arch = \"moe\", task = \"text-generation\", hardware = [cuda, rocm, cpu]{keys})]
struct Storyteller{number} {{
    #[param(default = 2)]
    num_active_experts: usize,
    #[param(default = 0.8, range = 0.1..=1.5)]
    temperature: f32,
    #[param]
    seed: Option<u64>,
    name: String,
}}
"
        );
    }
    source
}

/// The same pipelines as a person would write them with the traits alone.
pub(super) fn by_hand(count: usize) -> String {
    let mut source = format!(
        "#![allow(dead_code)]
use pipelines::arch::Moe;
use pipelines::declared::{{self, set, set_within}};
use pipelines::parts::LoadableAsPart;
use pipelines::prelude::*;
use pipelines::task::TextGeneration;
use pipelines::{{Declared, InfersByDefault}};

{EMPTY}"
    );
    for number in 0..count {
        source += &BY_HAND.replace("{TELLER}", &format!("Storyteller{number}"));
    }
    source
}

const BY_HAND: &str = r#"
/// Tells stories.
struct {TELLER} {
    num_active_experts: usize,
    temperature: f32,
    seed: Option<u64>,
    name: String,
}

impl Declaration for {TELLER} {
    type Architecture = Moe;
    type Task = TextGeneration;

    const NAME: &'static str = "{TELLER}";
    const HARDWARE: &'static [Hardware] = &[Hardware::Cuda, Hardware::Rocm, Hardware::Cpu];

    fn configure(&self, parameters: &mut ParametersOf<Self>) -> Result<()> {
        set(&mut parameters.num_active_experts, &self.num_active_experts)?;
        set_within("temperature", &mut parameters.temperature, &self.temperature, 0.1..=1.5)?;
        set(&mut parameters.seed, &self.seed)?;
        Ok(())
    }
}

impl Declared for {TELLER} {
    fn declared() -> Self {
        Self { num_active_experts: 2, temperature: 0.8, seed: None, name: String::default() }
    }
}

impl Preprocess for {TELLER} {
    fn preprocess(&self, call: &CallOf<'_, Self>, inputs: Vec<InputOf<Self>>) -> Result<PreparedOf<Self>> {
        declared::preprocess::<Self>(call, inputs)
    }
}

impl Route for {TELLER} {
    fn route(&self, call: &CallOf<'_, Self>, prepared: &PreparedOf<Self>) -> Result<PlanOf<Self>> {
        declared::route::<Self>(call, prepared)
    }
}

impl Infer for {TELLER} {
    fn infer(
        &self,
        call: &CallOf<'_, Self>,
        prepared: PreparedOf<Self>,
        plan: PlanOf<Self>,
    ) -> Result<RawOf<Self>> {
        declared::infer::<Self>(call, prepared, plan)
    }
}

impl InfersByDefault for {TELLER} {}

impl LoadableAsPart for {TELLER} {
    type This = Self;
}

impl Format for {TELLER} {
    type Output = OutputOf<Self>;

    fn format(&self, call: &CallOf<'_, Self>, raw: RawOf<Self>) -> Result<Vec<Self::Output>> {
        declared::format::<Self>(call, raw)
    }
}
"#;
