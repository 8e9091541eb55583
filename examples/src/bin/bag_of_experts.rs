//! An architecture of one's own: tells what kind of text it is given by the experts that the text wakes.
//!
//! The router of a mixture of experts sends stories, sums, weather reports and recipes to different experts. How often
//! each expert is visited, its bag of experts, is therefore a fingerprint of the kind, and the nearest known bag names
//! it: a classifier that nobody trained. It knows whole texts, as the model does; a sentence from the middle of one says
//! little. It is defined here, outside the library, with what every crate can use.
//!
//! ```text
//! cargo run --release --bin bag_of_experts -- "Recipe for apple cake: Take 4 apples, 2 eggs and 1 cup of sugar."
//! ```

use std::fmt;

use pipelines::arch::Moe;
use pipelines::arch::moe::{Generation, GenerationPlan, MoeModel, Prompt, TokenSequences};
use pipelines::checkpoint::CheckpointFiles;
use pipelines::prelude::*;
use pipelines::task::{Task, TextGeneration};
use pipelines::{Architecture, Call, LoadOptions, Parameters, TaskSpec, Value};

/// How a text of each kind begins. The model writes the rest itself, several times.
const KINDS: [(&str, &str); 4] = [
    ("story", "Once upon a time"),
    ("sum", "Sum: 23 + 45 ="),
    ("weather", "Weather report for Oakdale:"),
    ("recipe", "Recipe for pumpkin soup:"),
];

/// Texts that are written of each kind.
const SAMPLES: usize = 8;

/// The task: says of what kind a text is.
enum KindOfText {}

impl Task for KindOfText {
    const SPEC: &'static TaskSpec = &TaskSpec {
        name: "kind-of-text",
        aliases: &[],
        type_name: "KindOfText",
        description: "says of what kind a text is",
    };
}

/// The architecture: the nearest bag of experts.
enum BagOfExperts {}

/// What is adjustable.
#[derive(Clone)]
struct BagParameters {
    /// How sharply the nearest kind is preferred: the factor of the similarities before their softmax.
    sharpness: f32,
}

impl Parameters for BagParameters {
    fn values(&self) -> Vec<(&'static str, Value)> {
        vec![("sharpness", Value::Float(self.sharpness.into()))]
    }
}

/// How much each expert of each layer had to say, of length one: `(layers * experts)`.
type Bag = Vec<f32>;

/// A mixture of experts with the bags of the known kinds.
struct BagModel {
    experts: MoeModel,
    known: Vec<(&'static str, Bag)>,
}

/// How alike a text is to each kind, the nearest first. The scores sum to one.
struct Kinds(Vec<(&'static str, f32)>);

impl fmt::Display for Kinds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(kind, score)| writeln!(formatter, "{kind:<8} {:5.1} %", 100.0 * score))
    }
}

/// A call of the mixture of experts that generates up to `max_new_tokens`; one is the least, to read a text.
fn experts_call(
    experts: &MoeModel,
    hardware: Hardware,
    max_new_tokens: usize,
) -> Call<'_, Moe, TextGeneration> {
    let mut parameters = <Moe as Architecture<TextGeneration>>::parameters(experts);
    (parameters.max_new_tokens, parameters.seed) = (max_new_tokens, Some(0));
    Call { model: experts, parameters, hardware }
}

/// The same bag at length one.
fn unit(bag: Bag) -> Bag {
    let length = bag.iter().map(|visits| visits * visits).sum::<f32>().sqrt();
    bag.into_iter().map(|visits| visits / length).collect()
}

/// The bags of prepared texts.
fn bags(
    call: &Call<'_, Moe, TextGeneration>,
    prepared: TokenSequences,
    plan: GenerationPlan,
) -> Result<Vec<Bag>> {
    let raw = Moe::infer(call, prepared, plan)?;
    let bag = |generation: Generation| {
        let experts = &generation.experts;
        let mut bag = vec![0.0; experts.num_layers * experts.num_experts];
        // The token that begins every text says nothing of its kind.
        for token in experts.tokens.iter().skip(1) {
            for (layer, visited) in token.layers.iter().enumerate() {
                for (&expert, &weight) in visited.experts.iter().zip(&visited.weights) {
                    bag[layer * experts.num_experts + expert as usize] += weight;
                }
            }
        }
        unit(bag)
    };
    Ok(Moe::format(call, raw)?.into_iter().map(bag).collect())
}

impl Architecture<KindOfText> for BagOfExperts {
    const NAME: &'static str = "bag-of-experts";

    type Parameters = BagParameters;
    type Input = String;
    type Prepared = TokenSequences;
    type Plan = GenerationPlan;
    type Raw = Vec<Bag>;
    type Output = Kinds;
    type Model = BagModel;
    type Parts = ();

    fn load(checkpoint: &CheckpointFiles, (): (), options: &LoadOptions) -> Result<BagModel> {
        let experts = <Moe as Architecture<TextGeneration>>::load(checkpoint, (), options)?;
        let call = experts_call(&experts, options.device.hardware(), 200);
        let openings = KINDS.iter().flat_map(|(_, opening)| vec![Prompt::from(*opening); SAMPLES]).collect();
        let prepared = Moe::preprocess(&call, openings)?;
        let plan = Moe::route(&call, &prepared)?;
        let samples = bags(&call, prepared, plan)?;
        let mean = |samples: &[Bag]| {
            unit(
                (0..samples[0].len())
                    .map(|visits| samples.iter().map(|sample| sample[visits]).sum())
                    .collect(),
            )
        };
        let known =
            KINDS.iter().zip(samples.chunks(SAMPLES)).map(|((kind, _), bags)| (*kind, mean(bags))).collect();
        Ok(BagModel { experts, known })
    }

    fn parameters(_: &BagModel) -> BagParameters {
        BagParameters { sharpness: 10.0 }
    }

    fn preprocess(call: &Call<'_, Self, KindOfText>, inputs: Vec<String>) -> Result<TokenSequences> {
        let inputs = inputs.into_iter().map(Prompt::from).collect();
        Moe::preprocess(&experts_call(&call.model.experts, call.hardware, 1), inputs)
    }

    fn route(call: &Call<'_, Self, KindOfText>, prepared: &TokenSequences) -> Result<GenerationPlan> {
        Moe::route(&experts_call(&call.model.experts, call.hardware, 1), prepared)
    }

    fn infer(
        call: &Call<'_, Self, KindOfText>,
        prepared: TokenSequences,
        plan: GenerationPlan,
    ) -> Result<Vec<Bag>> {
        bags(&experts_call(&call.model.experts, call.hardware, 1), prepared, plan)
    }

    fn format(call: &Call<'_, Self, KindOfText>, raw: Vec<Bag>) -> Result<Vec<Kinds>> {
        let kinds = |bag: Bag| {
            let similarity =
                |known: &Bag| bag.iter().zip(known).map(|(left, right)| left * right).sum::<f32>();
            let mut scores: Vec<(&str, f32)> = call
                .model
                .known
                .iter()
                .map(|(kind, known)| (*kind, (call.parameters.sharpness * similarity(known)).exp()))
                .collect();
            let sum: f32 = scores.iter().map(|(_, score)| score).sum();
            scores.iter_mut().for_each(|(_, score)| *score /= sum);
            scores.sort_by(|(_, left), (_, right)| right.total_cmp(left));
            Kinds(scores)
        };
        Ok(raw.into_iter().map(kinds).collect())
    }
}

/// Says of what kind a text is.
#[pipeline(arch = BagOfExperts, task = KindOfText, hardware = [cuda, rocm, cpu], model = "checkpoints/storyteller-moe")]
struct Reader {
    #[param(default = 12.0, range = 1.0..=100.0)]
    sharpness: f32,
}

fn main() -> Result<()> {
    let text = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "Recipe for apple cake: Take 4 apples, 2 eggs and 1 cup of sugar.".to_owned());
    print!("{}", Reader::load()?.run(text)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart_by_their_experts() {
        let reader = Reader::load().unwrap();
        let texts = [
            (
                "story",
                "There once was a clever owl called Oliver who could not sleep. Every night he counted the stars.",
            ),
            ("sum", "Sum: 71 + 8 = 79"),
            (
                "weather",
                "Weather report for Milton: The day starts with 12 degrees. In the afternoon it is sunny.",
            ),
            (
                "recipe",
                "Recipe for apple cake: Take 4 apples, 2 eggs and 1 cup of sugar. Mix the eggs and the sugar.",
            ),
        ];
        let kinds = reader.run_batch(texts.map(|(_, text)| text.to_owned())).unwrap();
        for ((kind, text), found) in texts.iter().zip(kinds) {
            assert_eq!(found.0[0].0, *kind, "{text}\n{found}");
            assert!((found.0.iter().map(|(_, score)| score).sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
}
