//! Tests of the module above.

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::text::samples::{SENTENCES, Spaces, byte_fallback, byte_fallback_json, byte_level, words};

fn directory(files: &[(&str, String)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

fn mixtral() -> (&'static str, String) {
    ("tokenizer.json", byte_fallback_json(Spaces::Normalizer).to_string())
}

fn load(files: &[(&str, String)]) -> Result<Tokenizer> {
    Tokenizer::from_directory(directory(files).path())
}

fn refused(files: &[(&str, String)]) -> String {
    load(files).unwrap_err().to_string()
}

#[test]
fn byte_level_vocabularies_work() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    assert_eq!(tokenizer.decoding(), &Decoding::Bytes);
    for sentence in SENTENCES {
        let tokens = tokenizer.encode(sentence, true).unwrap();
        assert_eq!(tokenizer.decode(&tokens, true).unwrap(), sentence);
    }
    let end = tokenizer.token_to_id("<|end|>").unwrap();
    assert!(tokenizer.is_special(end));
    assert_eq!(tokenizer.vocabulary_size(), end as usize + 2);
    assert!(!tokenizer.is_special(end + 1) && !tokenizer.is_special(0) && !tokenizer.is_special(99_999));
    assert_eq!(tokenizer.decode(&[end], true).unwrap(), "");
    assert_eq!(tokenizer.decode(&[], true).unwrap(), "");
    let the = tokenizer.token_to_id("Ġthe").unwrap();
    assert_eq!(tokenizer.token_text(the), " the");
    assert_eq!(tokenizer.token_text(tokenizer.token_to_id("ł").unwrap()), "<0xA0>");
    assert_eq!(tokenizer.token_text(tokenizer.token_to_id("Ċ").unwrap()), "\n");
    assert_eq!(tokenizer.token_text(end), "<|end|>");
    assert_eq!(tokenizer.token_text(end + 1), "fenêtre");
    assert_eq!(tokenizer.token_text(99_999), "<99999>");
}

#[test]
fn the_regular_expression_of_llama_3_is_understood() {
    let pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let mut json: Value = serde_json::from_str(&byte_level().to_string(false).unwrap()).unwrap();
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
    ]});
    let tokenizer = load(&[("tokenizer.json", json.to_string())]).unwrap();
    for sentence in SENTENCES {
        let tokens = tokenizer.encode(sentence, true).unwrap();
        assert_eq!(tokenizer.decode(&tokens, true).unwrap(), sentence);
    }
    // Of two spaces the last belongs to the word.
    let texts = |text: &str| -> Vec<String> {
        tokenizer.encode(text, false).unwrap().into_iter().map(|token| tokenizer.token_text(token)).collect()
    };
    assert_eq!(texts("the  the"), ["the", " ", " the"]);
}

#[test]
fn what_sessions_share_can_cross_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Tokenizer>();
    shared::<ChatTemplate>();
    shared::<crate::text::Detokenizer>();
    shared::<crate::text::Sampler>();
}

#[test]
fn every_byte_has_its_character() {
    let mut bytes: Vec<u8> = (0..0x180).filter_map(char::from_u32).filter_map(byte_of_char).collect();
    bytes.sort_unstable();
    assert!(bytes.iter().copied().eq(0..=255));
    assert_eq!(byte_of_char('Ġ'), Some(b' '));
    assert_eq!(byte_of_char('Ń'), Some(0xAD));
    assert_eq!(byte_of_char('ń'), None);
}

#[test]
fn byte_fallback_vocabularies_work() {
    for spaces in [Spaces::Normalizer, Spaces::Metaspace, Spaces::Plain] {
        let tokenizer = byte_fallback(spaces);
        assert!(matches!(tokenizer.decoding(), Decoding::Local { byte_fallback: true, .. }), "{spaces:?}");
        for sentence in &SENTENCES[..5] {
            let tokens = tokenizer.encode(sentence, true).unwrap();
            assert_eq!(tokens[0], 1);
            assert_eq!(&tokenizer.decode(&tokens, true).unwrap(), sentence, "{spaces:?}");
        }
        let text = |token: &str| tokenizer.token_text(tokenizer.token_to_id(token).unwrap());
        assert_eq!(text("▁the"), " the");
        assert_eq!(text("▁▁"), "  ");
        assert_eq!(text("<0x0A>"), "\n");
        assert_eq!(text("<0xE4>"), "<0xE4>");
        assert_eq!(text("</s>"), "</s>");
    }
}

#[test]
fn unusual_decoders_work() {
    let tokenizer =
        words(&["<unk>", "a", "##b"], json!({"type": "WordPiece", "prefix": "##", "cleanup": false}));
    assert_eq!(tokenizer.decode(&[1, 2, 1], false).unwrap(), "ab a");
    assert_eq!([tokenizer.token_text(1), tokenizer.token_text(2)], [" a", "b"]);
    // The decoder alone would fail without tokens.
    let tokenizer = words(&["<unk>", "a</w>"], json!({"type": "BPEDecoder", "suffix": "</w>"}));
    assert_eq!(tokenizer.decode(&[9], false).unwrap(), "");
    assert_eq!(tokenizer.token_text(1), "a");
    assert_eq!(tokenizer.decoding(), &Decoding::Whole);
    // And this one on a token without characters.
    let tokenizer = words(&["<unk>", ""], json!({"type": "Strip", "content": " ", "start": 0, "stop": 1}));
    assert!(matches!(tokenizer.decode(&[1], false), Err(Error::Tokenizer(_))));
}

#[test]
fn the_files_of_a_checkpoint_are_read() {
    let tokenizer = load(&[
        mixtral(),
        (
            "tokenizer_config.json",
            json!({
                "bos_token": {"__type": "AddedToken", "content": "<s>"},
                "pad_token": null,
                "chat_template": [
                    {"name": "tool_use", "template": "tools"},
                    {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"},
                ],
                "added_tokens_decoder": {
                    "0": {"content": "<unk>", "special": true},
                    "315": {"content": "<call>", "special": false},
                },
            })
            .to_string(),
        ),
        ("special_tokens_map.json", json!({"bos_token": "wrong", "eos_token": "</s>", "unk_token": "the"}).to_string()),
    ]);
    let tokenizer = tokenizer.unwrap();
    assert_eq!((tokenizer.bos_token_id(), tokenizer.eos_token_id()), (Some(1), Some(2)));
    assert_eq!(tokenizer.pad_token_id(), None);
    assert_eq!(tokenizer.vocabulary_size(), 316);
    assert_eq!(tokenizer.encode("<call>the", false).unwrap()[0], 315);
    assert!(!tokenizer.is_special(315));
    // Neither truncated to 4 nor padded to 32.
    let tokens = tokenizer.encode("Once upon a time there", true).unwrap();
    assert_eq!(tokens.len(), 6, "{tokens:?}");
    let prompt = tokenizer.apply_chat_template(&[Message::new("user", "the fox")], true).unwrap();
    assert_eq!(prompt, "<s>the fox</s>");
    assert_eq!(tokenizer.encode(&prompt, false).unwrap().first(), Some(&1));
}

#[test]
fn tokens_that_a_file_names_are_special() {
    let config = json!({"eos_token": "▁the", "pad_token": "<not there>"}).to_string();
    let tokenizer = load(&[mixtral(), ("tokenizer_config.json", config)]).unwrap();
    let eos = tokenizer.eos_token_id().unwrap();
    assert!(tokenizer.is_special(eos));
    assert_eq!(tokenizer.pad_token_id(), None);
    assert_eq!(tokenizer.special_tokens()["pad_token"], "<not there>");
    assert_eq!(tokenizer.vocabulary_size(), byte_fallback(Spaces::Normalizer).vocabulary_size());
}

#[test]
fn a_template_file_comes_first() {
    let config = json!({"chat_template": "from the configuration"}).to_string();
    let files =
        [mixtral(), ("tokenizer_config.json", config), ("chat_template.jinja", "from the file\n".into())];
    let messages = [Message::new("user", "x")];
    assert_eq!(load(&files).unwrap().apply_chat_template(&messages, true).unwrap(), "from the file");
    assert_eq!(
        load(&files[..2]).unwrap().apply_chat_template(&messages, true).unwrap(),
        "from the configuration"
    );
    let error = load(&files[..1]).unwrap().apply_chat_template(&messages, true).unwrap_err().to_string();
    assert!(error.contains("add `chat_template.jinja`"), "{error}");
}

#[test]
fn without_a_tokenizer_the_error_says_what_to_do() {
    let error = refused(&[]);
    assert!(error.contains("tokenizer.json: not there; copy it"), "{error}");
    let error = refused(&[("tokenizer.model", String::new())]);
    assert!(error.contains("only `tokenizer.model`; convert it once: AutoTokenizer"), "{error}");
}

#[test]
fn malformed_files_are_errors_that_name_the_field() {
    let config = |value: Value| refused(&[mixtral(), ("tokenizer_config.json", value.to_string())]);
    let cases = [
        (config(json!({"bos_token": 3})), "`bos_token` must be a text, but is a whole number"),
        (config(json!({"eos_token": {}})), "`eos_token.content` must be a text, but is null"),
        (
            config(json!({"chat_template": 1})),
            "`chat_template` must be a text or a list, but is a whole number",
        ),
        (config(json!({"chat_template": ["x"]})), "`chat_template` must be a list of objects"),
        (
            config(json!({"chat_template": [{"name": "rag", "template": ""}]})),
            "no template named `default`, only: rag",
        ),
        (config(json!({"chat_template": "{% if %}"})), "tokenizer_config.json: line 1:"),
        (config(json!({"added_tokens_decoder": {"x": {}}})), "`added_tokens_decoder`"),
        (
            config(json!({"added_tokens_decoder": {"9999": {"content": "q!"}}})),
            "gives \"q!\" the number 9999",
        ),
        (config(json!([])), "expected a JSON object, found a list"),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected) && error.contains("tokenizer_config.json"), "{error}");
    }
}

#[test]
fn malformed_tokenizers_are_errors() {
    let whole = byte_fallback_json(Spaces::Normalizer);
    let changed = |pointer: &str, value: Value| {
        let mut json = whole.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        refused(&[("tokenizer.json", json.to_string())])
    };
    for error in [
        refused(&[("tokenizer.json", String::new())]),
        refused(&[("tokenizer.json", "[]".into())]),
        refused(&[("tokenizer.json", "{}".into())]),
        refused(&[("tokenizer.json", r#"{"model": {}, "decoder": 1e999}"#.into())]),
        refused(&[("tokenizer.json", r#"{"model": {}, "decoder": {"ty"#.into())]),
        changed("/version", json!("2.0")),
        changed("/model", json!(null)),
        changed("/model/type", json!("Unknown")),
        changed("/model/vocab", json!({})),
        changed("/model/vocab", json!({"a": -1})),
        changed("/model/merges", json!(["a"])),
        changed("/model/merges", json!(["a nothing"])),
        changed("/decoder", json!({"type": "Sequence"})),
        changed("/decoder", json!(3)),
        changed("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        changed(
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
        ),
    ] {
        assert!(error.contains("tokenizer.json: "), "{error}");
    }
    // The library accepts this file, and fails when it comes to the token.
    let mut json = whole.clone();
    json["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("none");
    let tokenizer = load(&[("tokenizer.json", json.to_string())]).unwrap();
    assert!(matches!(tokenizer.encode("a", true), Err(Error::Tokenizer(_))));
    assert!(tokenizer.encode("a", false).is_ok());
    // Cut anywhere.
    let text = whole.to_string();
    for end in (0..text.len()).step_by(97).filter(|&end| text.is_char_boundary(end)) {
        refused(&[("tokenizer.json", text[..end].to_owned())]);
    }
}
