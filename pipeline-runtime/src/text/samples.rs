//! Small tokenizers for tests, of the shapes that checkpoints have.

use serde_json::{Value, json};
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::Tokenizer;

pub(super) const SENTENCES: [&str; 6] = [
    "Once upon a time there was a little fox who lived in the forest.",
    "The fox said: \"I'll find the river, and then I'll find the sea!\"",
    "In 1999 there were 12 foxes; in 2024 there are 340.",
    "Čas plyne. Où est l'été? 你好，世界！ こんにちは 🦊🌊 👩‍👩‍👧",
    "the the the there then them they",
    "  two  spaces\n\tand a tab\n\n",
];

/// A byte-level vocabulary, as GPT-2 and Llama 3 have: all bytes, and merges trained on [`SENTENCES`].
pub(super) fn byte_level() -> tokenizers::Tokenizer {
    let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::BPE(BPE::default()));
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    let trainer = BpeTrainer::builder()
        .vocab_size(420)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), SENTENCES.iter().cycle().take(60)).unwrap();
    tokenizer.add_special_tokens([tokenizers::AddedToken::from("<|end|>", true)]).unwrap();
    tokenizer.add_tokens([tokenizers::AddedToken::from("fenêtre", false)]).unwrap();
    tokenizer
}

/// How the file of a byte-fallback vocabulary marks and restores spaces.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spaces {
    /// Llama 2 and Mixtral: a normalizer; the decoder strips the first space of the joined text.
    Normalizer,
    /// Later conversions: `Metaspace` before and after.
    Metaspace,
    /// Gemma: nothing is put before the text, nothing stripped.
    Plain,
}

/// `tokenizer.json` of a vocabulary with byte fallback, as sentencepiece makes them: `<unk>`, `<s>`, `</s>`, 256 byte
/// tokens, letters and some words.
pub(super) fn byte_fallback_json(spaces: Spaces) -> Value {
    let mut vocabulary: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    vocabulary.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    vocabulary.extend("▁abcdefghijklmnopqrstuvwxyzOTI.,:!é".chars().map(String::from));
    let mut merges = Vec::new();
    for word in ["▁the", "▁fox", "▁there", "▁Once", "▁a", "▁upon", "▁time", "▁▁"] {
        let mut characters = word.chars();
        let mut left: String = characters.next().into_iter().collect();
        for right in characters {
            let merged = format!("{left}{right}");
            if !vocabulary.contains(&merged) {
                merges.push(format!("{left} {right}"));
                vocabulary.push(merged.clone());
            }
            left = merged;
        }
    }
    let places: serde_json::Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false});
    let restore = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let (byte_fallback, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let (normalizer, pre_tokenizer, decoders) = match spaces {
        Spaces::Normalizer => (
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}),
            Value::Null,
            json!([restore, byte_fallback, fuse, strip]),
        ),
        Spaces::Metaspace => (Value::Null, metaspace.clone(), json!([byte_fallback, metaspace])),
        Spaces::Plain => (replace, Value::Null, json!([restore, byte_fallback, fuse])),
    };
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 2,
                    "pad_type_id": 0, "pad_token": "</s>"},
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                  "vocab": places, "merges": merges},
    })
}

/// A vocabulary with byte fallback.
pub(super) fn byte_fallback(spaces: Spaces) -> Tokenizer {
    from_json(byte_fallback_json(spaces))
}

/// A tokenizer from the content of a `tokenizer.json`.
pub(super) fn from_json(json: Value) -> Tokenizer {
    Tokenizer::new(tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap()).unwrap()
}

/// A vocabulary of a few words and any decoder.
pub(super) fn words(vocabulary: &[&str], decoder: Value) -> Tokenizer {
    let places: serde_json::Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    from_json(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": decoder,
        "model": {"type": "WordLevel", "vocab": places, "unk_token": vocabulary[0]},
    }))
}
