//! What the rules need to know of `tokenizer.json`: how many ids it can produce.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What `tokenizer.json` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizerFacts {
    /// One more than the greatest token id, of the vocabulary and of the added tokens.
    pub vocabulary_size: usize,
}

impl TokenizerFacts {
    /// Streams through the JSON and keeps only the greatest id. The error says what is wrong in which field.
    pub(super) fn parse(json: &[u8]) -> Result<TokenizerFacts, String> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let vocabulary_size = (&mut deserializer)
            .deserialize_map(Tokenizer)
            .and_then(|size| deserializer.end().map(|()| size))
            .map_err(|error| error.to_string())?;
        match usize::try_from(vocabulary_size) {
            Ok(0) => Err("`model.vocab` and `added_tokens` are empty".to_owned()),
            Ok(vocabulary_size) => Ok(TokenizerFacts { vocabulary_size }),
            Err(_) => Err(format!("`model.vocab` has {vocabulary_size} ids")),
        }
    }
}

/// Visits an object: the value of each key of interest by its own seed, every other value skipped.
macro_rules! object_visitor {
    ($name:ident, $expecting:literal, { $($key:literal => $seed:expr),+ }) => {
        #[derive(Clone, Copy)]
        struct $name;

        impl<'de> DeserializeSeed<'de> for $name {
            type Value = u64;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
                deserializer.deserialize_map(self)
            }
        }

        impl<'de> Visitor<'de> for $name {
            type Value = u64;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str($expecting)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
                let mut size = 0;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        $($key => {
                            let value = map.next_value_seed($seed);
                            let named = |error| A::Error::custom(format_args!("`{}`: {error}", $key));
                            size = size.max(value.map_err(named)?);
                        })+
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(size)
            }
        }
    };
}

object_visitor!(Tokenizer, "an object with `model`", { "model" => Model, "added_tokens" => AddedTokens });
object_visitor!(Model, "an object with `vocab`", { "vocab" => Vocabulary });
object_visitor!(AddedToken, "an object with `id`", { "id" => Id });

/// An id, as one more than it is.
#[derive(Clone, Copy)]
struct Id;

impl<'de> DeserializeSeed<'de> for Id {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_u64(self)
    }
}

impl Visitor<'_> for Id {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a token id from 0 to 4294967295")
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<u64, E> {
        match u32::try_from(id) {
            Ok(id) => Ok(u64::from(id) + 1),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Unsigned(id), &self)),
        }
    }
}

/// `[{"id": 0, "content": "<s>", ...}, ...]`.
struct AddedTokens;

impl<'de> DeserializeSeed<'de> for AddedTokens {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AddedTokens {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of tokens")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<u64, A::Error> {
        let mut size = 0;
        while let Some(token) = tokens.next_element_seed(AddedToken)? {
            size = size.max(token);
        }
        Ok(size)
    }
}

/// `{"<s>": 0, ...}` or, for a unigram model, `[["<s>", 0.0], ...]` where the position is the id.
struct Vocabulary;

impl<'de> DeserializeSeed<'de> for Vocabulary {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Vocabulary {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of ids by token or a list of tokens")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut size = 0;
        while map.next_key::<IgnoredAny>()?.is_some() {
            size = size.max(map.next_value_seed(Id)?);
        }
        Ok(size)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<u64, A::Error> {
        let mut size = 0;
        while tokens.next_element::<IgnoredAny>()?.is_some() {
            size += 1;
        }
        Ok(size)
    }
}
