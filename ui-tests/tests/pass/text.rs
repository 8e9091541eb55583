use pipelines::arch::Text;
use pipelines::prelude::*;
use pipelines::{Architecture, Declared};

#[pipeline(arch = "text", task = "text-generation", hardware = [cuda, rocm, cpu], model = "checkpoints/dense")]
struct Writer {
    #[param(default = 32)]
    max_new_tokens: usize,
    #[param(default = 0.8, range = 0.0..=1.5)]
    temperature: f32,
    #[param(default = ["\n\n"])]
    stop: Vec<String>,
    #[param]
    seed: Option<u64>,
}

#[pipeline(arch = decoder-only, task = text_embedding, model = "checkpoints/dense")]
struct Reader;

#[pipeline(arch = text, format = shout)]
struct Shouter;

fn shout(
    _: &Shouter,
    call: &CallOf<'_, Shouter>,
    raw: RawOf<Shouter>,
) -> Result<Vec<OutputOf<Shouter>>> {
    let mut texts = pipelines::declared::format::<Shouter>(call, raw)?;
    texts.iter_mut().for_each(|generation| generation.text = generation.text.to_uppercase());
    Ok(texts)
}

/// What each stage gives is the architecture's own.
fn streams(writer: &Pipeline<Writer>) -> Result<String> {
    let generation = writer.run_with("Once", |parameters| parameters.top_k = 40)?;
    let _: (usize, u64) = (generation.usage.completion_tokens, generation.seed);
    writer.stream("Once")?.map(|delta| Ok(delta?.text)).collect()
}

fn main() {
    assert_eq!(<Text as Architecture<pipelines::task::TextGeneration>>::NAME, "text");
    let writer = Writer::declared();
    assert_eq!((writer.max_new_tokens, writer.temperature, writer.seed), (32, 0.8, None));
    assert_eq!(writer.stop, ["\n\n"]);
    assert_eq!(Writer::HARDWARE, [Hardware::Cuda, Hardware::Rocm, Hardware::Cpu]);
    assert_eq!(Writer::MODEL.unwrap().header_hash, Reader::MODEL.unwrap().header_hash);
    let _: fn(&Pipeline<Writer>) -> Result<String> = streams;
    let _ = |shouter: Pipeline<Shouter>| shouter.run("Once").map(|generation| generation.output.text);
}
