//! What the rules need to know of `tokenizer.json`: how many ids it can produce.

use super::scan::Scanner;

/// What `tokenizer.json` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizerFacts {
    /// One more than the greatest token id, of the vocabulary and of the added tokens.
    pub vocabulary_size: usize,
}

impl TokenizerFacts {
    /// Scans the JSON and keeps only the greatest id. The error says what is wrong in which field.
    pub(super) fn parse(json: &[u8]) -> Result<TokenizerFacts, String> {
        let mut scanner = Scanner::new(json)?;
        let mut vocabulary_size = 0;
        scanner.object("an object with `model`", |scanner, key| {
            let size = match &*key {
                "model" => model(scanner),
                "added_tokens" => added_tokens(scanner),
                _ => return scanner.skip(),
            };
            vocabulary_size = vocabulary_size.max(size.map_err(|error| format!("`{key}`: {error}"))?);
            Ok(())
        })?;
        scanner.end()?;
        match vocabulary_size {
            0 => Err("`model.vocab` and `added_tokens` are empty".to_owned()),
            _ => Ok(TokenizerFacts { vocabulary_size }),
        }
    }
}

/// `{"type": "BPE", "vocab": ..., ...}`: one more than the greatest id of the vocabulary.
fn model(scanner: &mut Scanner<'_>) -> Result<usize, String> {
    let mut size = 0;
    scanner.object("an object with `vocab`", |scanner, key| {
        if key != "vocab" {
            return scanner.skip();
        }
        size = vocabulary(scanner).map_err(|error| format!("`vocab`: {error}"))?;
        Ok(())
    })?;
    Ok(size)
}

/// `{"<s>": 0, ...}` or, for a unigram model, `[["<s>", 0.0], ...]` where the position is the id.
fn vocabulary(scanner: &mut Scanner<'_>) -> Result<usize, String> {
    let mut size = 0;
    if scanner.at_list() {
        scanner.list("a list of tokens", |scanner| {
            size += 1;
            scanner.skip()
        })?;
    } else {
        scanner.object("an object of ids by token or a list of tokens", |scanner, _| {
            size = size.max(id(scanner)? + 1);
            Ok(())
        })?;
    }
    Ok(size)
}

/// `[{"id": 0, "content": "<s>", ...}, ...]`: one more than the greatest id.
fn added_tokens(scanner: &mut Scanner<'_>) -> Result<usize, String> {
    let mut size = 0;
    scanner.list("a list of tokens", |scanner| {
        scanner.object("an object with `id`", |scanner, key| {
            if key != "id" {
                return scanner.skip();
            }
            size = size.max(id(scanner).map_err(|error| format!("`id`: {error}"))? + 1);
            Ok(())
        })
    })?;
    Ok(size)
}

/// A token id: below 2^31, which is more than any vocabulary has.
fn id(scanner: &mut Scanner<'_>) -> Result<usize, String> {
    match scanner.unsigned("a token id")? {
        id if id < 1 << 31 => Ok(id as usize),
        id => Err(format!("the token id {id} is more than any vocabulary has")),
    }
}
