//! Text to tokens and back, from the files of a checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, Model as _};

use super::chat::{ChatTemplate, Message};
use super::files::{describe, read_if_present, read_object_if_present, read_text_if_present};
use crate::error::{Error, Result};

/// Large vocabularies (256k tokens with their merges) take 35 MB.
const TOKENIZER_LIMIT: u64 = 256 << 20;
/// Configurations that list every added token take a few MB.
const CONFIG_LIMIT: u64 = 32 << 20;
const TEMPLATE_LIMIT: u64 = 4 << 20;

/// The special tokens that a checkpoint may name, as Hugging Face calls them.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A checkpoint's tokenizer. Clones share it.
///
/// ```no_run
/// use std::path::Path;
///
/// use pipeline_runtime::text::Tokenizer;
///
/// let tokenizer = Tokenizer::from_directory(Path::new("checkpoints/storyteller-moe"))?;
/// let tokens = tokenizer.encode("Once upon a time", true)?;
/// assert_eq!(tokenizer.decode(&tokens, true)?, "Once upon a time");
/// # Ok::<(), pipeline_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tokenizer: tokenizers::Tokenizer,
    vocabulary_size: usize,
    special_tokens: BTreeMap<String, String>,
    chat_template: Option<ChatTemplate>,
    decoding: Decoding,
}

/// How far the text of a token depends on its neighbours, which is what streaming needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decoding {
    /// Tokens are bytes, and the text is all bytes together.
    Bytes,
    /// The text of a token depends on whether it is the first, and on byte tokens (`<0xE4>`) next to it.
    Local {
        /// Whether runs of byte tokens are decoded together.
        byte_fallback: bool,
        /// A token that stands for the text before, with its own text as the first of a sequence.
        anchor: (u32, String),
    },
    /// Anything else: the text is known only when all tokens are.
    Whole,
}

impl Tokenizer {
    /// Reads the tokenizer of a checkpoint: `tokenizer.json`, and where they are there `tokenizer_config.json`,
    /// `special_tokens_map.json` and `chat_template.jinja`.
    ///
    /// Truncation and padding that `tokenizer.json` asks for are not applied: they are left over from training.
    ///
    /// # Errors
    /// No `tokenizer.json`, or a file that does not hold what it should.
    pub fn from_directory(directory: &Path) -> Result<Tokenizer> {
        let path = directory.join("tokenizer.json");
        let Some(bytes) = read_if_present(&path, TOKENIZER_LIMIT)? else {
            return Err(no_tokenizer(directory, path));
        };
        let mut tokenizer = parse(&path, &bytes)?;

        let config_path = directory.join("tokenizer_config.json");
        let config = read_object_if_present(&config_path, CONFIG_LIMIT)?.unwrap_or_default();
        let map_path = directory.join("special_tokens_map.json");
        let map = read_object_if_present(&map_path, CONFIG_LIMIT)?.unwrap_or_default();
        let mut special_tokens = BTreeMap::new();
        for name in SPECIAL_TOKENS {
            let token = match special_token(&config_path, &config, name)? {
                Some(token) => Some(token),
                None => special_token(&map_path, &map, name)?,
            };
            if let Some(token) = token {
                special_tokens.insert(name.to_owned(), token);
            }
        }
        add_tokens_of_config(&mut tokenizer, &config_path, &config)?;
        // A token that a file names for such a purpose is special even where `tokenizer.json` does not say so. One that
        // the vocabulary does not have is not added: the model has no embedding for it.
        let named: Vec<AddedToken> = special_tokens
            .values()
            .filter(|token| tokenizer.token_to_id(token).is_some())
            .filter(|token| !tokenizer.get_added_vocabulary().is_special_token(token))
            .map(|token| AddedToken::from(token.clone(), true))
            .collect();
        if !named.is_empty() {
            tokenizer
                .add_special_tokens(named)
                .map_err(|error| Error::malformed(&path, error.to_string()))?;
        }

        let chat_template = read_chat_template(directory, &config_path, &config)?;
        Tokenizer::assemble(tokenizer, special_tokens, chat_template, &path)
    }

    /// A tokenizer with a word for each token, `w0`, `w1` and so on: for models whose weights are random.
    ///
    /// # Errors
    /// A vocabulary without tokens.
    pub fn of_words(vocabulary: usize) -> Result<Tokenizer> {
        let words = (0..vocabulary as u32).map(|token| (format!("w{token}"), token)).collect();
        let model = WordLevel::builder().vocab(words).unk_token("w0".to_owned()).build();
        let model = model.map_err(|error| Error::Tokenizer(error.to_string()))?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
        Tokenizer::new(tokenizer)
    }

    /// Wraps a tokenizer made in a program.
    ///
    /// # Errors
    /// A vocabulary without tokens.
    pub fn new(mut tokenizer: tokenizers::Tokenizer) -> Result<Tokenizer> {
        disable_truncation_and_padding(&mut tokenizer)?;
        Tokenizer::assemble(tokenizer, BTreeMap::new(), None, Path::new("tokenizer.json"))
    }

    fn assemble(
        tokenizer: tokenizers::Tokenizer,
        special_tokens: BTreeMap<String, String>,
        chat_template: Option<ChatTemplate>,
        path: &Path,
    ) -> Result<Tokenizer> {
        let vocabulary = tokenizer.get_vocab(true);
        let greatest = vocabulary.values().max();
        let Some(&greatest) = greatest else {
            return Err(Error::malformed(path, "`model.vocab` has no tokens"));
        };
        let decoding = Decoding::of(&tokenizer, &vocabulary);
        Ok(Tokenizer {
            shared: Arc::new(Shared {
                vocabulary_size: greatest as usize + 1,
                tokenizer,
                special_tokens,
                chat_template,
                decoding,
            }),
        })
    }

    /// The tokens of `text`. With `add_special_tokens`, those that the tokenizer puts around a text (`<s>`) are added;
    /// special tokens written out in the text are recognised either way.
    ///
    /// # Errors
    /// Text that the tokenizer's model refuses: an unknown character in a vocabulary without an unknown token.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.shared.tokenizer.encode_fast(text, add_special_tokens))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `tokens`. Tokens that are not in the vocabulary have none.
    ///
    /// # Errors
    /// Tokens that the tokenizer's decoder refuses.
    pub fn decode(&self, tokens: &[u32], skip_special_tokens: bool) -> Result<String> {
        let has_text = |&token: &u32| self.decoded_form(token, skip_special_tokens).is_some();
        if !tokens.iter().any(has_text) {
            // Some decoders take it for granted that there is a token.
            return Ok(String::new());
        }
        guarded(|| self.shared.tokenizer.decode(tokens, skip_special_tokens))
    }

    /// One more than the greatest token, added tokens included.
    pub fn vocabulary_size(&self) -> usize {
        self.shared.vocabulary_size
    }

    /// The token that is written `text` in the vocabulary.
    pub fn token_to_id(&self, text: &str) -> Option<u32> {
        self.shared.tokenizer.token_to_id(text)
    }

    /// How `token` is written in the vocabulary: `Ġthe`, `▁the`, `<0x0A>`.
    pub fn id_to_token(&self, token: u32) -> Option<String> {
        self.shared.tokenizer.id_to_token(token)
    }

    /// Whether `token` is one that [`decode`](Tokenizer::decode) skips when asked to.
    pub fn is_special(&self, token: u32) -> bool {
        self.decoded_form(token, false).is_some() && self.decoded_form(token, true).is_none()
    }

    /// The special tokens that the checkpoint names, from names like `bos_token` to the tokens as written.
    pub fn special_tokens(&self) -> &BTreeMap<String, String> {
        &self.shared.special_tokens
    }

    /// The token that begins a text.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.named_token("bos_token")
    }

    /// The token that ends a text.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.named_token("eos_token")
    }

    /// The token that fills up shorter sequences of a batch.
    pub fn pad_token_id(&self) -> Option<u32> {
        self.named_token("pad_token")
    }

    fn named_token(&self, name: &str) -> Option<u32> {
        self.token_to_id(self.shared.special_tokens.get(name)?)
    }

    /// The chat template, where the checkpoint has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.shared.chat_template.as_ref()
    }

    /// Writes a conversation as the prompt that the model was trained on. The result holds the special tokens: it is
    /// encoded without adding any.
    ///
    /// # Errors
    /// A checkpoint without a chat template, messages that its template refuses.
    pub fn apply_chat_template(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let template = self.chat_template().ok_or_else(|| {
            Error::ChatTemplate(
                "the checkpoint has none; add `chat_template.jinja` beside `tokenizer.json`, or pass the prompt as text"
                    .into(),
            )
        })?;
        template.render(messages, add_generation_prompt, self.special_tokens())
    }

    /// How a single token reads, for showing tokens one by one: with its leading space, special tokens as written, and
    /// bytes that are no character by themselves as `<0xE4>`.
    pub fn token_text(&self, token: u32) -> String {
        let Some(form) = self.decoded_form(token, false) else { return format!("<{token}>") };
        // Added tokens are written as they read, which not every decoder knows.
        if let Some(added) =
            self.shared.tokenizer.get_added_vocabulary().get_added_tokens_decoder().get(&token)
        {
            return added.content.clone();
        }
        match &self.shared.decoding {
            Decoding::Bytes => readable_bytes(&byte_level_bytes(&form)),
            Decoding::Local { byte_fallback, anchor } => {
                match byte_of_token(&form) {
                    Some(byte) if *byte_fallback => return readable_bytes(&[byte]),
                    _ => {}
                }
                let text = self.decode(&[anchor.0, token], false).unwrap_or_default();
                text.strip_prefix(anchor.1.as_str()).map_or(form, str::to_owned)
            }
            Decoding::Whole => self.decode(&[token], false).unwrap_or(form),
        }
    }

    pub(super) fn decoding(&self) -> &Decoding {
        &self.shared.decoding
    }

    /// The form in which `token` reaches the decoder; `None` if it does not.
    pub(super) fn decoded_form(&self, token: u32, skip_special_tokens: bool) -> Option<String> {
        let tokenizer = &self.shared.tokenizer;
        let added = tokenizer.get_added_vocabulary();
        added
            .simple_id_to_token(token)
            .or_else(|| tokenizer.get_model().id_to_token(token))
            .filter(|form| !skip_special_tokens || !added.is_special_token(form))
    }
}

impl Decoding {
    fn of(tokenizer: &tokenizers::Tokenizer, vocabulary: &HashMap<String, u32>) -> Decoding {
        let steps = match tokenizer.get_decoder() {
            None => &[],
            Some(DecoderWrapper::Sequence(sequence)) => sequence.get_decoders(),
            Some(single) => std::slice::from_ref(single),
        };
        let is_fuse = |step: &DecoderWrapper| matches!(step, DecoderWrapper::Fuse(_));
        let mut without_fuse = steps.iter().filter(|step| !is_fuse(step));
        if let (Some(DecoderWrapper::ByteLevel(_)), None) = (without_fuse.next(), without_fuse.next())
            && !is_fuse(&steps[0])
        {
            return Decoding::Bytes;
        }
        let Some(byte_fallback) = local_steps(steps) else { return Decoding::Whole };
        let plain = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let added = tokenizer.get_added_vocabulary();
        let anchor = vocabulary
            .iter()
            .filter(|(token, id)| plain(token) && added.simple_id_to_token(**id).is_none())
            .min_by_key(|(token, id)| (token.len(), **id));
        let Some((_, &anchor)) = anchor else { return Decoding::Whole };
        let decode = |tokens: &[u32]| guarded(|| tokenizer.decode(tokens, false)).ok();
        match (decode(&[anchor]), decode(&[anchor, anchor])) {
            (Some(one), Some(two)) if !one.is_empty() && two.len() > one.len() && two.starts_with(&one) => {
                Decoding::Local { byte_fallback, anchor: (anchor, one) }
            }
            _ => Decoding::Whole,
        }
    }
}

/// Whether each step gives a token's text whatever its neighbours are, but for being the first and for runs of byte
/// tokens; and if so, whether runs of byte tokens are decoded.
fn local_steps(steps: &[DecoderWrapper]) -> Option<bool> {
    let mut byte_fallback = false;
    // From here on there is one text instead of one for each token.
    let mut fused = false;
    for step in steps {
        match step {
            DecoderWrapper::Replace(_) | DecoderWrapper::Metaspace(_) | DecoderWrapper::WordPiece(_)
                if !fused => {}
            DecoderWrapper::ByteFallback(_) if !fused => byte_fallback = true,
            DecoderWrapper::Fuse(_) => fused = true,
            DecoderWrapper::Strip(strip) if !fused || strip.stop == 0 => {}
            _ => return None,
        }
    }
    Some(byte_fallback)
}

/// Calls into the tokenizers library. It indexes and unwraps in places that a crafted `tokenizer.json` can reach.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    // What is shared is read only but for a cache of whole entries.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| Error::Tokenizer(error.to_string())),
        Err(_) => Err(Error::Tokenizer("`tokenizer.json` describes steps that fail on this input".into())),
    }
}

/// What to do where there is no `tokenizer.json`.
fn no_tokenizer(directory: &Path, path: PathBuf) -> Error {
    let others = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt"];
    let message = match others.into_iter().find(|name| directory.join(name).is_file()) {
        Some(other) => format!(
            "not there, only `{other}`; convert it once: AutoTokenizer.from_pretrained(\"{0}\").save_pretrained(\"{0}\") \
             in Python's transformers",
            directory.display()
        ),
        None => "not there; copy it from where the checkpoint comes from".into(),
    };
    Error::malformed(path, message)
}

/// The parts of `tokenizer.json`. The tokenizers library unwraps them while reading, so they are read once without
/// interpretation: what is no JSON is reported as such.
#[derive(Deserialize)]
struct Outline {
    model: Option<IgnoredAny>,
    #[serde(default, rename = "normalizer")]
    _normalizer: Value,
    #[serde(default, rename = "pre_tokenizer")]
    _pre_tokenizer: Value,
    #[serde(default, rename = "post_processor")]
    _post_processor: Value,
    #[serde(default, rename = "decoder")]
    _decoder: Value,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<tokenizers::Tokenizer> {
    let outline: Outline = serde_json::from_slice(bytes)
        .map_err(|error| Error::malformed(path, format!("not a tokenizer: {error}")))?;
    if outline.model.is_none() {
        return Err(Error::malformed(path, "`model` is missing"));
    }
    let mut tokenizer = match catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(bytes))) {
        Ok(result) => result.map_err(|error| Error::malformed(path, error.to_string()))?,
        Err(_) => return Err(Error::malformed(path, "the tokenizers library cannot read it")),
    };
    disable_truncation_and_padding(&mut tokenizer)?;
    Ok(tokenizer)
}

fn disable_truncation_and_padding(tokenizer: &mut tokenizers::Tokenizer) -> Result<()> {
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| Error::Tokenizer(error.to_string()))?;
    Ok(())
}

/// A special token: a text, or an object with its text as `content`.
fn special_token(path: &Path, object: &Map<String, Value>, name: &str) -> Result<Option<String>> {
    let (value, field) = match object.get(name) {
        Some(Value::Object(token)) => {
            (token.get("content").unwrap_or(&Value::Null), format!("{name}.content"))
        }
        Some(Value::Null) | None => return Ok(None),
        Some(value) => (value, name.to_owned()),
    };
    match value {
        Value::String(token) => Ok(Some(token.clone())),
        other => Err(Error::malformed(path, format!("`{field}` must be a text, but is {}", describe(other)))),
    }
}

/// Adds the tokens of `added_tokens_decoder` that `tokenizer.json` lacks, at the places the former gives them.
fn add_tokens_of_config(
    tokenizer: &mut tokenizers::Tokenizer,
    path: &Path,
    config: &Map<String, Value>,
) -> Result<()> {
    #[derive(Deserialize)]
    struct Listed {
        content: String,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        normalized: bool,
        #[serde(default)]
        special: bool,
    }
    let Some(listed) = config.get("added_tokens_decoder") else { return Ok(()) };
    let listed = BTreeMap::<u32, Listed>::deserialize(listed)
        .map_err(|error| Error::malformed(path, format!("`added_tokens_decoder`: {error}")))?;
    for (id, token) in listed {
        if tokenizer.get_added_vocabulary().simple_id_to_token(id).is_some() {
            continue;
        }
        let added = AddedToken::from(token.content.clone(), token.special)
            .lstrip(token.lstrip)
            .rstrip(token.rstrip)
            .single_word(token.single_word)
            .normalized(token.normalized);
        tokenizer.add_tokens([added]).map_err(|error| Error::malformed(path, error.to_string()))?;
        let place = tokenizer.token_to_id(&token.content);
        if place != Some(id) {
            let place = place.map_or("none".into(), |place| place.to_string());
            return Err(Error::malformed(
                path,
                format!(
                    "`added_tokens_decoder` gives {:?} the number {id}, but its place is {place}",
                    token.content
                ),
            ));
        }
    }
    Ok(())
}

/// `chat_template.jinja`, or the `chat_template` of `tokenizer_config.json`: a text, or a list of named ones of which
/// `default` is taken.
fn read_chat_template(
    directory: &Path,
    config_path: &Path,
    config: &Map<String, Value>,
) -> Result<Option<ChatTemplate>> {
    let path = directory.join("chat_template.jinja");
    if let Some(source) = read_text_if_present(&path, TEMPLATE_LIMIT)? {
        return ChatTemplate::new(&source, &path).map(Some);
    }
    let wrong = |expected: &str, found: &Value| {
        let message = format!("`chat_template` must be {expected}, but is {}", describe(found));
        Error::malformed(config_path, message)
    };
    match config.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => ChatTemplate::new(source, config_path).map(Some),
        Some(Value::Array(templates)) => {
            let mut names = Vec::new();
            for template in templates {
                let field = |name: &str| template.get(name).and_then(Value::as_str);
                let (Some(name), Some(source)) = (field("name"), field("template")) else {
                    return Err(wrong("a list of objects with `name` and `template`", template));
                };
                if name == "default" {
                    return ChatTemplate::new(source, config_path).map(Some);
                }
                names.push(name);
            }
            Err(Error::malformed(
                config_path,
                format!("`chat_template` has no template named `default`, only: {}", names.join(", ")),
            ))
        }
        Some(other) => Err(wrong("a text or a list", other)),
    }
}

/// The byte of a byte token, `<0xE4>`, by the same rule as the `ByteFallback` decoder.
pub(super) fn byte_of_token(form: &str) -> Option<u8> {
    if form.len() == 6 && form.starts_with("<0x") && form.ends_with('>') {
        u8::from_str_radix(form.get(3..5)?, 16).ok()
    } else {
        None
    }
}

/// The bytes that a token of a byte-level vocabulary stands for, by the same rule as the `ByteLevel` decoder: a token
/// with a character that stands for no byte is taken as it is.
pub(super) fn byte_level_bytes(form: &str) -> Vec<u8> {
    form.chars().map(byte_of_char).collect::<Option<Vec<u8>>>().unwrap_or_else(|| form.as_bytes().to_vec())
}

/// The byte that a character stands for in a byte-level vocabulary (`bytes_to_unicode` of GPT-2): printable bytes are
/// the character of that number, the others follow from 256 on in their order.
fn byte_of_char(character: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(character) {
        number @ 0..=255 => Some(number as u8).filter(|&byte| printable(byte)),
        number @ 256..=323 => (0..=255).filter(|&byte| !printable(byte)).nth(number as usize - 256),
        _ => None,
    }
}

/// Text as it is, and bytes that are no text as `<0xE4>`.
fn readable_bytes(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("<0x{byte:02X}>"));
        }
    }
    text
}

#[cfg(test)]
mod tests;
