//! Tokens to text, one token at a time.

use super::tokenizer::{Decoding, Tokenizer, byte_level_bytes, byte_of_token};
use crate::error::{Error, Result};

/// How many tokens at the beginning may have no text before the next is taken for one in the middle of a text.
const LONGEST_SILENT_START: usize = 64;

/// Gives out the text of tokens as they come, in pieces that are final: together they are exactly what
/// [`Tokenizer::decode`] makes of all tokens at once, and no character is ever split.
///
/// Text is held back where the next token can still change it:
/// - a character whose bytes are not all there;
/// - a run of byte tokens (`<0xE4>`) until a token of another kind ends it, because the decoder makes replacement
///   characters of the whole run if any part of it is no UTF-8;
/// - everything, for the rare decoders that look further (`CTC`, `BPEDecoder`, or a step that works on the joined
///   text): their text comes with [`finish`](Detokenizer::finish).
///
/// The cost of a token does not grow with the length of the text.
///
/// ```no_run
/// # use std::path::Path;
/// # use pipeline_runtime::text::{Detokenizer, Tokenizer};
/// # fn next_token() -> Option<u32> { None }
/// let tokenizer = Tokenizer::from_directory(Path::new("checkpoints/storyteller-moe"))?;
/// let mut detokenizer = Detokenizer::new(&tokenizer, true);
/// while let Some(token) = next_token() {
///     print!("{}", detokenizer.push(token)?);
/// }
/// println!("{}", detokenizer.finish()?);
/// # Ok::<(), pipeline_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    skip_special_tokens: bool,
    /// Tokens whose text is held back.
    tokens: Vec<u32>,
    /// The bytes of a character that is not complete.
    bytes: Vec<u8>,
    /// Whether there is text before `tokens`, so that they keep their leading space.
    continued: bool,
}

impl Detokenizer {
    /// For tokens that begin a text.
    pub fn new(tokenizer: &Tokenizer, skip_special_tokens: bool) -> Detokenizer {
        Detokenizer {
            tokenizer: tokenizer.clone(),
            skip_special_tokens,
            tokens: Vec::new(),
            bytes: Vec::new(),
            continued: false,
        }
    }

    /// For tokens that continue a text, as those generated from a prompt do: the first keeps the leading space that
    /// some decoders remove from the beginning of a text.
    pub fn continuing(tokenizer: &Tokenizer, skip_special_tokens: bool) -> Detokenizer {
        Detokenizer { continued: true, ..Detokenizer::new(tokenizer, skip_special_tokens) }
    }

    /// Takes the next token and returns the text that has become final.
    ///
    /// # Errors
    /// Tokens that the tokenizer's decoder refuses.
    pub fn push(&mut self, token: u32) -> Result<String> {
        let Some(form) = self.tokenizer.decoded_form(token, self.skip_special_tokens) else {
            return Ok(String::new());
        };
        match self.tokenizer.decoding() {
            Decoding::Bytes => {
                self.bytes.extend(byte_level_bytes(&form));
                Ok(take_characters(&mut self.bytes))
            }
            Decoding::Local { byte_fallback, .. } => {
                self.tokens.push(token);
                if *byte_fallback && byte_of_token(&form).is_some() {
                    return Ok(String::new());
                }
                self.take_text()
            }
            Decoding::Whole => {
                self.tokens.push(token);
                Ok(String::new())
            }
        }
    }

    /// The text still held back, for the end of the tokens. A character of which bytes are missing becomes U+FFFD.
    ///
    /// # Errors
    /// Tokens that the tokenizer's decoder refuses.
    pub fn finish(&mut self) -> Result<String> {
        let mut text = String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned();
        if !self.tokens.is_empty() {
            text.push_str(&self.take_text()?);
        }
        self.tokens.clear();
        self.continued = false;
        Ok(text)
    }

    /// The text of the tokens held back, which end where the next token cannot change it.
    fn take_text(&mut self) -> Result<String> {
        let anchor = match self.tokenizer.decoding() {
            Decoding::Local { anchor, .. } if self.continued => anchor,
            _ => {
                let text = self.tokenizer.decode(&self.tokens, self.skip_special_tokens)?;
                // As long as there is no text, what is removed from its beginning may not all have come.
                if !text.is_empty() || self.tokens.len() > LONGEST_SILENT_START {
                    self.continued = true;
                    self.tokens.clear();
                }
                return Ok(text);
            }
        };
        self.tokens.insert(0, anchor.0);
        let text = self.tokenizer.decode(&self.tokens, self.skip_special_tokens);
        self.tokens.clear();
        let text = text?;
        match text.strip_prefix(anchor.1.as_str()) {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(Error::Tokenizer(format!(
                "the decoder of `tokenizer.json` makes {text:?} of {:?} and tokens after it",
                anchor.1
            ))),
        }
    }
}

/// Removes the complete characters from the beginning of `bytes`, sequences that are no UTF-8 as U+FFFD. What stays
/// may become a character.
fn take_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut taken = 0;
    loop {
        match std::str::from_utf8(&bytes[taken..]) {
            Ok(rest) => {
                text.push_str(rest);
                bytes.clear();
                return text;
            }
            Err(error) => {
                let valid = taken + error.valid_up_to();
                text.push_str(std::str::from_utf8(&bytes[taken..valid]).expect("checked up to here"));
                match error.error_len() {
                    Some(length) => {
                        text.push(char::REPLACEMENT_CHARACTER);
                        taken = valid + length;
                    }
                    None => {
                        bytes.drain(..valid);
                        return text;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use serde_json::json;

    use super::*;
    use crate::text::samples::{SENTENCES, Spaces, byte_fallback, byte_level, words};

    /// The pieces of all tokens and of the end.
    fn pieces(mut detokenizer: Detokenizer, tokens: &[u32]) -> Vec<String> {
        let mut pieces: Vec<String> = tokens.iter().map(|&token| detokenizer.push(token).unwrap()).collect();
        pieces.push(detokenizer.finish().unwrap());
        pieces
    }

    fn check(tokenizer: &Tokenizer, tokens: &[u32], skip_special_tokens: bool) {
        let pieces = pieces(Detokenizer::new(tokenizer, skip_special_tokens), tokens);
        let whole = tokenizer.decode(tokens, skip_special_tokens).unwrap();
        assert_eq!(pieces.concat(), whole, "{tokens:?} came as {pieces:?}");
    }

    fn tokenizers() -> Vec<Tokenizer> {
        let restore = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let vocabulary =
            ["<unk>", "a", "b", "▁", "▁▁", "▁a", "##a", "c</w>", "<0x41>", "<0xE4>", "<0xBD>", "", ".", "�"];
        let words = |decoder| words(&vocabulary, decoder);
        vec![
            Tokenizer::new(byte_level()).unwrap(),
            byte_fallback(Spaces::Normalizer),
            byte_fallback(Spaces::Metaspace),
            byte_fallback(Spaces::Plain),
            words(json!(null)),
            words(json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true})),
            words(json!({"type": "WordPiece", "prefix": "##", "cleanup": true})),
            words(json!({"type": "BPEDecoder", "suffix": "</w>"})),
            words(json!({"type": "CTC", "pad_token": "b", "word_delimiter_token": "▁", "cleanup": true})),
            words(json!({"type": "Fuse"})),
            words(json!({"type": "Sequence", "decoders": [{"type": "Fuse"}, restore]})),
            words(json!({"type": "Sequence", "decoders": [
                restore, {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 3, "stop": 0}]})),
            words(json!({"type": "Sequence", "decoders": [
                restore, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 1}]})),
        ]
    }

    #[test]
    fn random_tokens_give_the_text_of_all_at_once() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for (index, tokenizer) in tokenizers().iter().enumerate() {
            // A Strip at the end of a text does not take a text without characters.
            let strips_the_end = index + 1 == tokenizers().len();
            for round in 0..400 {
                let length = random.random_range(0..30);
                // One token more than there are: it has no text.
                let mut tokens: Vec<u32> = (0..length)
                    .map(|_| random.random_range(0..=tokenizer.vocabulary_size() as u32))
                    .collect();
                if strips_the_end {
                    tokens.insert(0, 1);
                }
                check(tokenizer, &tokens, round % 2 == 0);
            }
        }
    }

    #[test]
    fn texts_come_back() {
        for tokenizer in &tokenizers()[..4] {
            for sentence in SENTENCES {
                let tokens = tokenizer.encode(sentence, true).unwrap();
                check(tokenizer, &tokens, true);
                check(tokenizer, &tokens, false);
                // Cut in the middle of characters too.
                for end in 0..tokens.len() {
                    check(tokenizer, &tokens[..end], true);
                }
            }
        }
    }

    #[test]
    fn bytes_in_any_order_are_no_obstacle() {
        let mut random = ChaCha8Rng::seed_from_u64(6);
        let byte_level = Tokenizer::new(byte_level()).unwrap();
        let byte_fallback = byte_fallback(Spaces::Normalizer);
        let first = byte_fallback.token_to_id("<0x00>").unwrap();
        let letter = byte_fallback.token_to_id("a").unwrap();
        // The vocabulary begins with the characters of the bytes.
        let bytes_of_level: Vec<u32> = (0..byte_level.vocabulary_size() as u32)
            .filter(|&token| byte_level.id_to_token(token).is_some_and(|form| form.chars().count() == 1))
            .collect();
        for _ in 0..2000 {
            let length = random.random_range(1..12);
            let mut bytes: Vec<u8> = Vec::new();
            for _ in 0..length {
                match random.random_range(0..4) {
                    0 => bytes.extend("🦊".bytes().take(random.random_range(1..=4))),
                    1 => bytes.extend("你".bytes().take(random.random_range(1..=3))),
                    2 => bytes.push(random.random_range(0x80..=0xFF)),
                    _ => bytes.push(b'x'),
                }
            }
            let tokens: Vec<u32> = bytes.iter().map(|&byte| first + u32::from(byte)).collect();
            check(&byte_fallback, &tokens, false);
            let mut mixed = tokens.clone();
            mixed.insert(random.random_range(0..=tokens.len()), letter);
            check(&byte_fallback, &mixed, false);
            let tokens: Vec<u32> = bytes
                .iter()
                .map(|&byte| {
                    let has =
                        |&&token: &&u32| byte_level_bytes(&byte_level.id_to_token(token).unwrap()) == [byte];
                    *bytes_of_level.iter().find(has).unwrap()
                })
                .collect();
            check(&byte_level, &tokens, false);
            assert_eq!(byte_level.decode(&tokens, false).unwrap(), String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn text_comes_as_soon_as_it_is_final() {
        let tokenizer = byte_fallback(Spaces::Normalizer);
        let id = |token| tokenizer.token_to_id(token).unwrap();
        let tokens = [
            id("<s>"),
            id("▁the"),
            id("▁fox"),
            id("<0xE4>"),
            id("<0xBD>"),
            id("<0xA0>"),
            id("a"),
            id("</s>"),
        ];
        assert_eq!(
            pieces(Detokenizer::new(&tokenizer, true), &tokens),
            ["", "the", " fox", "", "", "", "你a", "", ""]
        );
        // A prompt stands before these: the space stays.
        assert_eq!(
            pieces(Detokenizer::continuing(&tokenizer, true), &tokens[1..4]),
            [" the", " fox", "", "\u{FFFD}"]
        );

        let tokenizer = Tokenizer::new(byte_level()).unwrap();
        let tokens = tokenizer.encode("é🌍x", false).unwrap();
        let pieces = pieces(Detokenizer::new(&tokenizer, true), &tokens);
        assert_eq!(pieces.iter().filter(|piece| !piece.is_empty()).collect::<Vec<_>>(), ["é", "🌍", "x"]);
    }

    #[test]
    fn what_is_held_does_not_grow() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for tokenizer in &tokenizers()[..7] {
            let mut detokenizer = Detokenizer::new(tokenizer, false);
            for _ in 0..5000 {
                detokenizer.push(random.random_range(0..tokenizer.vocabulary_size() as u32)).unwrap();
                // Runs of byte tokens end by chance.
                assert!(detokenizer.tokens.len() < 200 && detokenizer.bytes.len() < 4);
            }
        }
    }

    #[test]
    fn a_detokenizer_can_be_used_again_after_its_end() {
        let tokenizer = byte_fallback(Spaces::Normalizer);
        let token = tokenizer.token_to_id("▁the").unwrap();
        let mut detokenizer = Detokenizer::new(&tokenizer, false);
        for _ in 0..2 {
            assert_eq!(detokenizer.push(token).unwrap(), "the");
            assert_eq!(detokenizer.finish().unwrap(), "");
        }
    }
}
