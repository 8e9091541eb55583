//! A user's crate that denies every warning of the compiler and of clippy, the pedantic ones included.

use crate::scratch::Scratch;

const DECLARATIONS: &str = r#"//! Declarations of every kind.
#![deny(warnings, missing_docs, clippy::all, clippy::pedantic)]

use pipelines::prelude::*;

/// With a model, parameters of every type and ranges.
#[pipeline(
    arch = "moe",
    task = "text-generation",
    hardware = [cuda, rocm, cpu],
    model = "checkpoints/tiny",
    dtype = bf16
)]
#[derive(Clone, Debug)]
pub struct Storyteller {
    /// Experts that each token visits.
    #[param(default = 2, range = 1..=4)]
    pub num_active_experts: usize,
    /// How wild the stories are.
    #[param(default = 0.8, range = 0.1..=1.5)]
    pub temperature: f32,
    /// Whether they are drawn.
    #[param(default = true)]
    pub do_sample: bool,
    /// What ends them.
    #[param(default = ["\n\n", "The end"])]
    pub stop: Vec<String>,
    /// What becomes of a token whose expert is full.
    #[param(default = "drop")]
    pub overflow: String,
    /// How full an expert may be.
    #[param(default = 1.25)]
    pub capacity_factor: Option<f64>,
    /// Reproduces a story.
    #[param]
    pub seed: Option<u64>,
    /// The teller's own.
    pub name: String,
}

/// The smallest.
#[pipeline(arch = moe)]
pub struct Unit;

/// Not named.
#[pipeline(arch = moe, task = feature-extraction, hardware = cpu)]
pub struct Tuple(pub u8, pub Vec<u8>);

/// Generic, with lifetimes and constants.
#[pipeline(arch = moe)]
pub struct Generic<'a, T: Send + Sync, const N: usize>
where
    T: Clone,
{
    /// The teller's own.
    pub lines: [&'a T; N],
}

/// Every stage overridden, half by function and half by impl.
#[pipeline(arch = moe, preprocess = preprocess, route = route, custom(infer, format))]
pub struct Overridden;

fn preprocess(
    _: &Overridden,
    call: &CallOf<'_, Overridden>,
    inputs: Vec<InputOf<Overridden>>,
) -> Result<PreparedOf<Overridden>> {
    pipelines::declared::preprocess::<Overridden>(call, inputs)
}

fn route(
    _: &Overridden,
    call: &CallOf<'_, Overridden>,
    prepared: &PreparedOf<Overridden>,
) -> Result<PlanOf<Overridden>> {
    pipelines::declared::route::<Overridden>(call, prepared)
}

impl Infer for Overridden {
    fn infer(
        &self,
        call: &CallOf<'_, Self>,
        prepared: PreparedOf<Self>,
        plan: PlanOf<Self>,
    ) -> Result<RawOf<Self>> {
        pipelines::declared::infer::<Self>(call, prepared, plan)
    }
}

impl Format for Overridden {
    type Output = String;

    fn format(&self, call: &CallOf<'_, Self>, raw: RawOf<Self>) -> Result<Vec<String>> {
        let stories = pipelines::declared::format::<Self>(call, raw)?;
        Ok(stories.into_iter().map(|story| story.text).collect())
    }
}

pub mod jury;

/// An architecture of one's own that takes a part.
pub mod composed {
    use pipelines::prelude::*;

    use crate::jury;

    /// Tells stories.
    #[pipeline(arch = moe)]
    pub struct Storyteller;

    /// Asks the storyteller.
    #[pipeline(arch = jury::Jury, task = jury::Vote, generator = Storyteller)]
    pub struct Court;
}

/// In a function.
#[must_use]
pub fn name() -> &'static str {
    #[pipeline(arch = moe)]
    struct Local;
    Local::NAME
}
"#;

#[test]
fn clippy_has_nothing_to_say_of_declarations() {
    let scratch = Scratch::new("pedantic", "pipelines = { path = \"PIPELINES\" }");
    crate::checkpoints::write(&scratch.root);
    scratch.write("src/lib.rs", DECLARATIONS);
    // The architecture is ordinary code, written for the cases beside it: its lints are not what is tested.
    let jury = include_str!("../architectures/jury.rs").replace(
        "use pipelines::checkpoint",
        "#![allow(missing_docs, clippy::all, clippy::pedantic)]\nuse pipelines::checkpoint",
    );
    scratch.write("src/jury.rs", &jury);
    let clippy = |after: &[&str]| scratch.cargo(&["clippy"], &[&["--"], after].concat());
    let said = clippy(&["-D", "warnings", "-D", "clippy::pedantic"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));

    // What a user wrote themselves is still judged: the test can fail.
    let careless =
        format!("{DECLARATIONS}\n/// Careless.\npub fn careless(text: String) -> usize {{ text.len() }}\n");
    scratch.write("src/lib.rs", &careless);
    let said = clippy(&["-D", "warnings", "-D", "clippy::pedantic"]);
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("needless_pass_by_value"));
}
