//! The words of a declaration for an editor: what is complete is looked up, what is not can be completed.
//!
//! Only tokens are looked at, so that a declaration that cannot be read yet has its words, too.

use pipeline_schema::{DType, Hardware, arch, task};
use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};

/// The lists of words, by the module of `pipelines::__private::words` where each is explained.
pub(crate) const LISTS: [&str; 7] = ["keys", "arch", "task", "hardware", "dtype", "custom", "param"];

/// The words of each list that is asked for, in the order of [`LISTS`].
pub(crate) struct Words(pub(crate) [Option<Vec<Ident>>; LISTS.len()]);

impl Words {
    /// The words of `#[pipeline(...)]` and of every `#[param(...)]`.
    pub(crate) fn of(arguments: TokenStream, params: impl IntoIterator<Item = TokenStream>) -> Words {
        let mut words = Words(Default::default());
        words.list("keys");
        words.add(arguments, "keys");
        for param in params {
            words.list("param");
            words.add(param, "param");
        }
        words
    }

    /// Adds the keys of an attribute, and the words behind those that have a list.
    fn add(&mut self, attribute: TokenStream, keys: &str) {
        let mut key: Option<Ident> = None;
        let mut value = Vec::new();
        for token in attribute {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == ',' => {
                    self.add_value(key.take(), std::mem::take(&mut value));
                }
                TokenTree::Ident(ident) if key.is_none() && value.is_empty() => {
                    self.add_word(keys, &ident.to_string(), ident.span());
                    key = Some(ident.clone());
                }
                _ => value.push(token),
            }
        }
        self.add_value(key, value);
    }

    fn add_value(&mut self, key: Option<Ident>, value: Vec<TokenTree>) {
        let key = key.map(|key| key.to_string());
        let Some(list) = LISTS.iter().find(|list| key.as_deref() == Some(**list)) else { return };
        self.list(list);
        let tokens = value.into_iter().skip_while(|token| is_punct(token, '='));
        self.add_words(list, tokens);
    }

    fn add_words(&mut self, list: &str, tokens: impl IntoIterator<Item = TokenTree>) {
        let mut text = String::new();
        let mut spans: Vec<Span> = Vec::new();
        let end = |words: &mut Words, text: &mut String, spans: &mut Vec<Span>| {
            spans.drain(..).for_each(|span| words.add_word(list, text, span));
            text.clear();
        };
        for token in tokens {
            match token {
                TokenTree::Group(group) if group.delimiter() != Delimiter::Brace => {
                    self.add_words(list, group.stream());
                }
                TokenTree::Ident(ident) => {
                    if !text.ends_with('-') {
                        end(self, &mut text, &mut spans);
                    }
                    text += &ident.to_string();
                    spans.push(ident.span());
                }
                TokenTree::Literal(literal) => {
                    text = literal.to_string().trim_matches('"').to_owned();
                    spans = vec![literal.span()];
                }
                TokenTree::Punct(punct) if punct.as_char() == '-' => text.push('-'),
                TokenTree::Punct(punct) if punct.as_char() == ',' => end(self, &mut text, &mut spans),
                // The path of a type, which the compiler knows by itself.
                _ => return,
            }
        }
        end(self, &mut text, &mut spans);
    }

    /// Adds a word by the name that it has in its list, if it can have one there.
    fn add_word(&mut self, list: &str, text: &str, span: Span) {
        let name = match list {
            "arch" => arch::find(text).map(|spec| spec.name),
            "task" => task::find(text).map(|spec| spec.name),
            "hardware" => Hardware::from_name(text).ok().map(Hardware::name),
            "dtype" => DType::from_name(text).map(DType::name),
            _ => None,
        };
        let name = name.map_or_else(|| text.to_owned(), identifier);
        if let Ok(mut word) = syn::parse_str::<Ident>(&name) {
            word.set_span(span);
            self.list(list).push(word);
        }
    }

    fn list(&mut self, list: &str) -> &mut Vec<Ident> {
        let number = LISTS.iter().position(|other| *other == list).expect("it is one of the lists");
        self.0[number].get_or_insert_default()
    }
}

/// A word of the tables as an identifier.
pub(crate) fn identifier(word: &str) -> String {
    word.replace('-', "_")
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}
