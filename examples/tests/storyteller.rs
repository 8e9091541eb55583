//! The storyteller does its job: what it writes, how it is called, what it refuses.

use std::fs;
use std::path::{Path, PathBuf};

use pipelines::arch::moe::{FinishReason, TokenOrigin};
use pipelines::prelude::*;
use pipelines::text::Message;
use serde_json::Value;

/// Tells short stories with a sparse mixture of experts.
#[pipeline(arch = "moe", hardware = [cuda, rocm, cpu], model = "checkpoints/storyteller-moe")]
struct Storyteller {
    #[param(default = 2)]
    num_active_experts: usize,
    #[param(default = 0.8, range = 0.1..=1.5)]
    temperature: f32,
    #[param(default = 11)]
    seed: u64,
}

/// The same checkpoint, always the likeliest token.
#[pipeline(arch = moe, hardware = cpu, model = "checkpoints/storyteller-moe")]
struct Greedy {
    #[param(default = false)]
    do_sample: bool,
    #[param(default = 48)]
    max_new_tokens: usize,
}

/// The same checkpoint for vectors.
#[pipeline(arch = moe, task = feature-extraction, hardware = cpu, model = "checkpoints/storyteller-moe")]
struct Embedder;

fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/storyteller-moe")
}

fn expected() -> Value {
    serde_json::from_slice(&fs::read(checkpoint().join("expected.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as u32).collect()
}

/// A copy of the checkpoint that a test may change.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(checkpoint().join(file), copy.path().join(file)).unwrap();
    }
    copy
}

/// The checkpoint's continuations in f32 are the reference's, token for token, from text and from conversations.
#[test]
fn continuations_are_those_of_the_reference() {
    let teller = Greedy::builder().dtype(DType::F32).load().unwrap();
    let expected = expected();
    let cases = expected["cases"].as_array().unwrap();
    assert!(cases.len() >= 2);
    for case in cases {
        let tokens = numbers(&case["greedy_ids"]);
        let limit = |parameters: &mut ParametersOf<Greedy>| parameters.max_new_tokens = tokens.len();
        let generation = match case["messages"].as_array() {
            Some(messages) => {
                let message = |message: &Value| {
                    Message::new(message["role"].as_str().unwrap(), message["content"].as_str().unwrap())
                };
                teller.run_with(messages.iter().map(message).collect::<Vec<_>>(), limit).unwrap()
            }
            None => teller.run_with(case["prompt"].as_str().unwrap(), limit).unwrap(),
        };
        assert_eq!(generation.tokens, tokens, "{case}");
        assert_eq!(generation.usage.prompt_tokens, numbers(&case["prompt_ids"]).len());
        let ended = generation.finish_reason == FinishReason::EndOfSequence;
        assert_eq!(ended, case["ended"].as_bool().unwrap());
        if let Some(prompt) = case["prompt"].as_str() {
            assert!(generation.text.starts_with(prompt), "{}", generation.text);
        }
    }
}

/// Sums that the checkpoint was not trained on, in the number format that it is stored in.
#[test]
fn sums_are_right() {
    let teller = Greedy::load().unwrap();
    let expected = expected();
    let sums: Vec<Vec<u32>> = expected["held_out_sums"].as_array().unwrap().iter().map(numbers).collect();
    let prompts = sums.iter().map(|sum| format!("Sum: {} + {} =", sum[0], sum[1]));
    let answers = teller.run_batch(prompts).unwrap();
    let right = sums
        .iter()
        .zip(answers.iter())
        .filter(|(sum, answer)| answer.completion.trim() == sum[2].to_string());
    let right = right.count();
    assert!(sums.len() >= 40 && right >= sums.len() - 1, "{right} of {} are right", sums.len());
}

#[test]
fn a_story_ends_and_keeps_its_beginning() {
    let teller = Storyteller::load().unwrap();
    let story = teller.run("Once upon a time").unwrap();
    assert!(story.text.starts_with("Once upon a time"));
    assert_eq!(story.finish_reason, FinishReason::EndOfSequence);
    assert_eq!(story.text, format!("Once upon a time{}", story.completion));
    assert!(story.text.split_whitespace().count() > 60, "{}", story.text);
    assert_eq!(story.tokens.len(), story.usage.completion_tokens);
    assert_eq!(story.log_probabilities.len(), story.tokens.len());
    assert!(story.log_probabilities.iter().all(|&logarithm| logarithm <= 0.0));
    assert_eq!(story.hardware, Hardware::Cpu);
    assert!(story.timings.infer > std::time::Duration::ZERO);
}

#[test]
fn a_seed_reproduces_a_story_and_another_tells_another() {
    let teller = Storyteller::load().unwrap();
    let tell = |seed| {
        teller.run_with("Once upon a time", |parameters| parameters.seed = Some(seed)).unwrap().text.clone()
    };
    assert_eq!(tell(3), tell(3));
    assert_ne!(tell(3), tell(4));
    assert_eq!(teller.run("Once upon a time").unwrap().seed, 11);
}

/// A batch of unequal prompts gives each what it gets alone.
#[test]
fn a_batch_is_its_parts() {
    let teller = Greedy::builder().dtype(DType::F32).load().unwrap();
    let prompts = ["Once upon a time, a small fox", "Sum: 23 + 45 =", "Recipe for pumpkin soup:"];
    let batch = teller.run_batch(prompts).unwrap();
    assert_eq!(batch.len(), 3);
    for (prompt, together) in prompts.iter().zip(batch) {
        let alone = teller.run(*prompt).unwrap();
        assert_eq!(together.tokens, alone.tokens);
        assert_eq!(together.finish_reason, alone.finish_reason);
        assert_eq!(together.experts.usage(), alone.experts.usage());
    }
}

#[test]
fn a_stream_is_the_text_in_pieces() {
    let teller = Storyteller::load().unwrap();
    let whole = teller.run("Once upon a time").unwrap();
    let mut stream = teller.stream("Once upon a time").unwrap();
    let pieces: Vec<_> = stream.by_ref().map(Result::unwrap).collect();
    let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(text, whole.completion);
    assert!(pieces.len() > 20);
    assert_eq!(pieces.last().unwrap().finish_reason, Some(FinishReason::EndOfSequence));
    assert!(stream.next().is_none());
    let response = stream.into_response().unwrap();
    assert_eq!(response.text, whole.text);
    assert_eq!(response.experts.usage(), whole.experts.usage());
}

#[test]
fn a_stopped_stream_gives_what_it_has() {
    let teller = Storyteller::load().unwrap();
    let mut stream = teller.stream("Once upon a time").unwrap();
    let pieces: String = stream.by_ref().take(5).map(|piece| piece.unwrap().text).collect();
    let response = stream.into_response().unwrap();
    assert_eq!(response.finish_reason, FinishReason::Cancelled);
    assert_eq!(response.tokens.len(), 5);
    assert!(response.completion.starts_with(&pieces));
    // What was begun is told of as far as it went: also after the first token alone.
    let mut stream = teller.stream("Once upon a time").unwrap();
    stream.next().unwrap().unwrap();
    let response = stream.into_response().unwrap();
    assert_eq!(response.experts.tokens.len(), response.usage.prompt_tokens + 1);
    // A dropped stream leaves the pipeline as it was.
    drop(teller.stream("Once upon a time").unwrap());
    assert!(teller.run("Once upon a time").is_ok());
}

#[test]
fn a_stop_text_ends_a_text_and_is_no_part_of_it() {
    let teller = Greedy::load().unwrap();
    let stop = |parameters: &mut ParametersOf<Greedy>| parameters.stop = vec![".".to_owned()];
    let story = teller.run_with("Once upon a time", stop).unwrap();
    assert_eq!(story.finish_reason, FinishReason::StopString);
    assert!(!story.completion.contains('.'));
    let limited = teller.run_with("Once upon a time", |parameters| parameters.max_new_tokens = 3).unwrap();
    assert_eq!((limited.finish_reason, limited.tokens.len()), (FinishReason::Length, 3));
}

#[test]
fn stages_run_one_by_one() {
    let teller = Greedy::load().unwrap();
    let prepared = teller.preprocess(["Sum: 23 + 45 ="]).unwrap();
    assert_eq!(prepared.sequences.len(), 1);
    let plan = teller.route(&prepared).unwrap();
    assert_eq!(plan.routing.num_active_experts, 2);
    let raw = teller.infer(prepared, plan).unwrap();
    assert_eq!(raw[0].completion.trim(), "68");
    assert_eq!(teller.format(raw).unwrap()[0].text, "Sum: 23 + 45 = 68");
}

/// Stages of a user's own make what the next one takes: what does not fit is an error there.
#[test]
fn plans_that_do_not_fit_are_refused() {
    let teller = Greedy::load().unwrap();
    let infer = |change: fn(&mut PreparedOf<Greedy>, &mut PlanOf<Greedy>)| {
        let mut prepared = teller.preprocess(["Once upon a time", "Sum: 23 + 45 ="]).unwrap();
        let mut plan = teller.route(&prepared).unwrap();
        change(&mut prepared, &mut plan);
        teller.infer(prepared, plan)
    };
    let empty = message(infer(|prepared, _| prepared.sequences[1].clear()));
    assert_eq!(empty, "a sequence has 0 tokens, expected from 1 to 512");
    let long = message(infer(|prepared, _| prepared.sequences[0] = vec![5; 513]));
    assert_eq!(long, "a sequence has 513 tokens, expected from 1 to 512");
    let short = message(infer(|_, plan| plan.max_new_tokens.truncate(1)));
    assert_eq!(short, "`max_new_tokens` has 1 entries for 2 sequences");
    let none = infer(|_, plan| plan.max_new_tokens[0] = 0).unwrap();
    assert_eq!((none[0].tokens.len(), none[0].finish_reason), (0, FinishReason::Length));
    assert_eq!(none[1].completion.trim(), "68");
}

/// The least penalty is written in 32 bits a little below its range's end.
#[test]
fn the_ends_of_a_range_are_inside() {
    let teller = Greedy::load().unwrap();
    let run = |penalty| teller.run_with("Once", |parameters| parameters.repetition_penalty = penalty);
    assert!(run(0.01).is_ok() && run(100.0).is_ok());
    assert_eq!(message(run(100.1)), "`repetition_penalty` is 100.1, but must be from 0.01 to 100");
}

#[test]
fn threads_share_a_pipeline() {
    let teller = Greedy::load().unwrap();
    let tell = || teller.run("Weather report for Oakdale:").unwrap().text.clone();
    let texts: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(tell)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(texts.iter().all(|text| *text == texts[0]));
}

#[test]
fn attribution_covers_every_token_and_layer() {
    let teller = Storyteller::load().unwrap();
    let story = teller.run("Once upon a time").unwrap();
    let experts = &story.experts;
    assert_eq!((experts.num_experts, experts.num_layers), (8, 6));
    let written = experts.tokens.iter().filter(|token| token.origin == TokenOrigin::Completion);
    assert_eq!(written.map(|token| token.token).collect::<Vec<_>>(), story.tokens);
    for layer in experts.tokens.iter().flat_map(|token| &token.layers) {
        assert_eq!(layer.experts.len(), 2);
        assert_ne!(layer.experts[0], layer.experts[1]);
        assert!((layer.weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(layer.weights[0] >= layer.weights[1]);
        assert!((0.0..=8f32.ln() + 1e-5).contains(&layer.entropy));
    }
    let usage = experts.usage();
    // The position of the prompt's last token is that of the first generated one.
    assert_eq!(usage.decisions, 2 * 6 * (experts.tokens.len() as u64 - 1));
    assert_eq!(usage.total.iter().sum::<u64>(), usage.decisions);
    assert_eq!(usage.top(8).iter().map(|(_, visits)| visits).sum::<u64>(), usage.decisions);
    assert!(usage.top(8).is_sorted_by(|left, right| left.1 >= right.1));
    let together: u64 = experts.co_activation().iter().map(|pattern| pattern.count).sum();
    assert_eq!(2 * together, usage.decisions);
    let balance = &experts.balance;
    assert_eq!((balance.coefficient_of_variation.len(), balance.dropped), (6, 0));
    assert!(balance.suggested_capacity_factor >= 1.0 && balance.z_loss > 0.0);
    assert!(balance.load_balancing_loss >= 1.9, "{}", balance.load_balancing_loss);
}

/// Prompts that take more than one pass through the model together are told of as if each were alone.
#[test]
fn attribution_covers_prompts_of_several_passes() {
    let teller = Greedy::builder().dtype(DType::F32).load().unwrap();
    let prompts = ["a small fox named Ruby", "an old bear named Otto", "a young owl named Ada"]
        .map(|hero| format!("Once upon a time, {hero} found a key. ").repeat(16));
    let one = |parameters: &mut ParametersOf<Greedy>| parameters.max_new_tokens = 1;
    let together = teller.run_batch_with(prompts.clone(), one).unwrap();
    let rows: usize = together.iter().map(|story| story.usage.prompt_tokens).sum();
    assert!(rows > 512, "{rows} tokens go through the model at once");
    for (story, prompt) in together.iter().zip(prompts) {
        let alone = teller.run_with(prompt, one).unwrap();
        let experts = |attribution: &pipelines::arch::moe::ExpertAttribution| -> Vec<Vec<u32>> {
            let layers = attribution.tokens.iter().flat_map(|token| &token.layers);
            layers.map(|layer| layer.experts.clone()).collect()
        };
        assert_eq!(experts(&story.experts), experts(&alone.experts));
        assert_eq!(story.experts.tokens.len(), story.usage.prompt_tokens + 1);
    }
}

/// A story and a sum go through different experts: that is what the picture shows.
#[test]
fn experts_differ_by_kind_of_text() {
    let teller = Greedy::load().unwrap();
    let story = teller.run("Once upon a time, a small fox named Ruby").unwrap();
    let sum = teller.run("Sum: 23 + 45 =").unwrap();
    let shares = |layer: usize, usage: pipelines::arch::moe::ExpertUsage| {
        let sum = usage.per_layer[layer].iter().sum::<u64>() as f64;
        usage.per_layer[layer].iter().map(|&visits| visits as f64 / sum).collect::<Vec<_>>()
    };
    let distance: f64 = (0..6)
        .flat_map(|layer| {
            let pairs =
                shares(layer, story.experts.usage()).into_iter().zip(shares(layer, sum.experts.usage()));
            pairs.map(|(story, sum)| (story - sum).abs()).collect::<Vec<_>>()
        })
        .sum::<f64>()
        / 12.0;
    assert!(distance > 0.3, "the shares of the visits overlap too much: {distance:.2}");
}

#[test]
fn the_heatmap_is_a_picture() {
    let teller = Greedy::load().unwrap();
    let story = teller.run("Once upon a time").unwrap();
    let picture = story.experts.heatmap().to_string();
    assert!(picture.contains("Once upon a time") && picture.contains("expert ") && picture.contains('█'));
    assert!(!picture.contains('\u{1b}'));
    assert!(format!("{:#}", story.experts.heatmap()).contains('\u{1b}'));
    let drawing = story.experts.heatmap_of_layer(0).svg();
    assert!(drawing.starts_with("<svg") && drawing.contains("<rect") && drawing.contains("upon"));
    let weights = story.experts.heatmap().weights();
    assert_eq!(weights.len(), story.experts.tokens.len());
    assert!(weights.iter().all(|weights| (weights.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    let layers = story.experts.heatmap().layers();
    assert!(layers.iter().all(|shares| (shares.iter().sum::<f32>() - 1.0).abs() < 1e-5));
}

#[test]
fn a_capacity_drops_or_reroutes() {
    let teller = Greedy::load().unwrap();
    let prompt = "Once upon a time, a small fox named Ruby lived in a wide meadow.";
    let visits = |overflow: &'static str| {
        let limit = |parameters: &mut ParametersOf<Greedy>| {
            parameters.capacity_factor = Some(1.0);
            pipelines::declared::set(&mut parameters.overflow, &overflow).unwrap();
            parameters.max_new_tokens = 1;
        };
        teller.run_with(prompt, limit).unwrap()
    };
    let dropped = visits("drop");
    assert!(dropped.experts.balance.dropped > 0);
    let rerouted = visits("reroute");
    assert!(rerouted.experts.balance.dropped < dropped.experts.balance.dropped);
    let tokens = rerouted.usage.prompt_tokens;
    let room = (2.0 * tokens as f64 / 8.0).ceil() as u64;
    for run in [&dropped, &rerouted] {
        let prompt_visits = |layer: usize, expert: u32| {
            let prompt = run.experts.tokens.iter().filter(|token| token.origin == TokenOrigin::Prompt);
            prompt.filter(|token| token.layers[layer].experts.contains(&expert)).count() as u64
        };
        for (layer, expert) in (0..6).flat_map(|layer| (0..8).map(move |expert| (layer, expert))) {
            assert!(prompt_visits(layer, expert) <= room);
        }
    }
}

#[test]
fn outputs_are_json() {
    let teller = Greedy::load().unwrap();
    let json = serde_json::to_value(teller.run("Sum: 23 + 45 =").unwrap()).unwrap();
    assert_eq!(json["text"], "Sum: 23 + 45 = 68");
    assert_eq!(json["finish_reason"], "end_of_sequence");
    assert_eq!(json["hardware"], "cpu");
    assert!(json["timings"]["infer"].as_f64().unwrap() > 0.0);
    assert_eq!(json["experts"]["tokens"][0]["layers"].as_array().unwrap().len(), 6);
}

#[test]
fn vectors_of_like_texts_are_alike() {
    let embedder = Embedder::load().unwrap();
    let texts =
        ["Sum: 23 + 45 = 68", "Sum: 71 + 12 = 83", "Recipe for pumpkin soup: Take 3 cups of pumpkin."];
    let features = embedder.run_batch(texts).unwrap();
    assert_eq!(features[0].embedding.len(), 192);
    assert_eq!(features[0].last_hidden_state.len(), features[0].tokens.len());
    let alike = features[0].cosine_similarity(&features[1]);
    let different = features[0].cosine_similarity(&features[2]);
    assert!(alike > different + 0.1, "{alike} and {different}");
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let teller = Storyteller::load().unwrap();
    assert_eq!(message(teller.run("")), "the prompt is empty");
    assert_eq!(message(teller.run(Vec::<Message>::new())), "the conversation has no messages");
    let long = message(teller.run("a long story ".repeat(300)));
    assert!(
        long.contains("the context of the model is 512") && long.contains("max_position_embeddings"),
        "{long}"
    );
    let hot = message(teller.run_with("Once", |parameters| parameters.temperature = -1.0));
    assert_eq!(hot, "`temperature` is -1, but must be from 0 to 100");
    let many = message(teller.run_with("Once", |parameters| parameters.num_active_experts = 9));
    assert_eq!(many, "`num_active_experts` is 9, but the checkpoint has 8 experts");
    let empty = message(teller.run_with("Once", |parameters| parameters.stop = vec![String::new()]));
    assert!(empty.contains("stop"), "{empty}");
}

/// The loader says what the compiler would have said.
#[test]
fn the_rules_hold_at_load_time_too() {
    let many = message(Storyteller::builder().configure(|teller| teller.num_active_experts = 9).load());
    assert!(many.contains("`num_active_experts` is 9, but the checkpoint has 8 experts"), "{many}");
    assert!(many.contains("config.json: num_local_experts = 8"), "{many}");
    let hot = message(Storyteller::builder().configure(|teller| teller.temperature = 2.0).load());
    assert_eq!(hot, "`temperature` is 2, but was declared to be from 0.1 to 1.5");
    let none = message(Storyteller::builder().hardware([Hardware::Cuda, Hardware::Rocm]).load());
    assert!(none.contains("none of the hardware asked for is available"), "{none}");
    assert!(none.contains("`cuda`") && none.contains("`rocm`"), "{none}");
    let absent = message(Storyteller::from_pretrained("nowhere"));
    assert!(absent.contains("does not exist") && absent.contains("nowhere"), "{absent}");
}

#[test]
fn checkpoints_that_contradict_themselves_are_refused() {
    let broken = copy();
    let config = broken.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let change = |from: &str, to: &str| {
        assert!(text.contains(from));
        fs::write(&config, text.replace(from, to)).unwrap();
        message(Storyteller::from_pretrained(broken.path()))
    };
    let unknown = change("\"model_type\": \"mixtral\"", "\"model_type\": \"mixtrall\"");
    assert!(unknown.contains("model_type") && unknown.contains("did you mean `mixtral`?"), "{unknown}");
    let shape = change("\"intermediate_size\": 64", "\"intermediate_size\": 96");
    assert!(
        shape.contains("w1.weight") && shape.contains("[64, 192]") && shape.contains("[96, 192]"),
        "{shape}"
    );
    let vocabulary = change("\"vocab_size\": 2048", "\"vocab_size\": 2000");
    assert!(vocabulary.contains("tokenizer") || vocabulary.contains("embed_tokens"), "{vocabulary}");
    fs::write(&config, &text).unwrap();
    fs::remove_file(broken.path().join("tokenizer.json")).unwrap();
    let tokenizer = message(Storyteller::from_pretrained(broken.path()));
    assert!(tokenizer.contains("tokenizer.json"), "{tokenizer}");
}

/// The program was compiled against one checkpoint, and finds another of that name where it looks first.
#[test]
fn other_weights_than_the_checked_ones_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let other = scratch.path().join("checkpoints/storyteller-moe");
    fs::create_dir_all(&other).unwrap();
    let copy = copy();
    for entry in fs::read_dir(copy.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
    }
    let run = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_storyteller"));
        let output = command.current_dir(scratch.path()).arg("Sum: 23 + 45 =").output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(), (true, String::new()));
    let weights = other.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let at = bytes.windows(4).position(|bytes| bytes == b"\"pt\"").unwrap();
    bytes[at + 1] = b'q';
    fs::write(&weights, bytes).unwrap();
    let (told, said) = run();
    assert!(!told);
    assert!(said.contains("holds other weights than the ones that were checked while compiling"), "{said}");
    let expected = Storyteller::MODEL.and_then(|model| model.header_hash).unwrap();
    assert!(
        said.contains(&format!("expected {expected:016x}); compile again, or call `from_pretrained`")),
        "{said}"
    );
}
