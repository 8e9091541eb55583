//! Stop strings: texts that end a generation and are not part of its result.

use crate::error::{Error, Result};

/// Watches generated text for stop strings.
///
/// The text ends where the first stop string is complete, as it would if the text arrived a byte at a time: how it is
/// cut into pieces never changes the result. Where two stop strings are complete at the same byte, the longer one
/// counts. Text that may be the beginning of a stop string is held back until it is decided.
///
/// ```
/// use pipeline_runtime::text::StopStrings;
///
/// let mut stops = StopStrings::new(&["\nUser:".to_owned()])?;
/// assert_eq!(stops.push("Hello!\nUs").text, "Hello!");
/// let outcome = stops.push("er: and");
/// assert_eq!((outcome.text.as_str(), outcome.matched), ("", Some(0)));
/// # Ok::<(), pipeline_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StopStrings {
    patterns: Vec<Pattern>,
    /// Text that may be the beginning of a stop string.
    held: String,
    matched: Option<usize>,
}

/// What became of a piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOutcome {
    /// The text that is certain to be part of the result, what was held back before included.
    pub text: String,
    /// The stop string that was found, by its place in the list; from then on no text comes any more.
    pub matched: Option<usize>,
}

/// A stop string with the state of its search (Knuth, Morris and Pratt).
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// For each prefix of `bytes`, by length: the length of its longest proper prefix that is also its suffix.
    borders: Vec<usize>,
    /// How many bytes of the stop string the text so far ends with.
    length: usize,
}

impl StopStrings {
    /// Watches for `stops`.
    ///
    /// # Errors
    /// An empty stop string, which would end every text before it begins.
    pub fn new(stops: &[String]) -> Result<StopStrings> {
        if let Some(position) = stops.iter().position(String::is_empty) {
            return Err(Error::Parameter(format!(
                "`stop` has an empty text at position {position}, which would end every generation at once; remove it"
            )));
        }
        let patterns = stops.iter().map(|stop| Pattern::new(stop.as_bytes())).collect();
        Ok(StopStrings { patterns, held: String::new(), matched: None })
    }

    /// Takes the next piece of text and returns what is certain to be part of the result.
    pub fn push(&mut self, text: &str) -> StopOutcome {
        if self.matched.is_some() {
            return StopOutcome { text: String::new(), matched: self.matched };
        }
        let seen = self.held.len();
        self.held.push_str(text);
        for (position, &byte) in text.as_bytes().iter().enumerate() {
            let mut longest = 0;
            for (index, pattern) in self.patterns.iter_mut().enumerate() {
                if pattern.advance(byte) && pattern.bytes.len() > longest {
                    longest = pattern.bytes.len();
                    self.matched = Some(index);
                }
            }
            if longest > 0 {
                let mut text = std::mem::take(&mut self.held);
                text.truncate(seen + position + 1 - longest);
                return StopOutcome { text, matched: self.matched };
            }
        }
        // What is held begins with the first byte of a stop string, so the cut is between characters.
        let undecided = self.patterns.iter().map(|pattern| pattern.length).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - undecided);
        StopOutcome { text: std::mem::replace(&mut self.held, rest), matched: None }
    }

    /// The text still held back, for the end of a generation that no stop string ended.
    pub fn finish(&mut self) -> String {
        for pattern in &mut self.patterns {
            pattern.length = 0;
        }
        std::mem::take(&mut self.held)
    }
}

impl Pattern {
    fn new(bytes: &[u8]) -> Pattern {
        let mut borders = vec![0; bytes.len() + 1];
        let mut length = 0;
        for position in 1..bytes.len() {
            while length > 0 && bytes[position] != bytes[length] {
                length = borders[length];
            }
            if bytes[position] == bytes[length] {
                length += 1;
            }
            borders[position + 1] = length;
        }
        Pattern { bytes: bytes.to_vec(), borders, length: 0 }
    }

    /// Takes the next byte of the text; true when the stop string is complete.
    fn advance(&mut self, byte: u8) -> bool {
        while self.length > 0 && self.bytes[self.length] != byte {
            self.length = self.borders[self.length];
        }
        if self.bytes[self.length] == byte {
            self.length += 1;
        }
        // A complete stop string ends the text, so no state beyond it is ever needed.
        self.length == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn stops(texts: &[&str]) -> StopStrings {
        StopStrings::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    /// All text and the match, given the pieces.
    fn run(texts: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut stops = stops(texts);
        let mut result = String::new();
        for piece in pieces {
            let outcome = stops.push(piece);
            result.push_str(&outcome.text);
            if outcome.matched.is_some() {
                assert_eq!(stops.push("more"), StopOutcome { text: String::new(), matched: outcome.matched });
                assert_eq!(stops.finish(), "");
                return (result, outcome.matched);
            }
        }
        result.push_str(&stops.finish());
        (result, None)
    }

    #[test]
    fn text_without_stop_strings_passes_at_once() {
        let mut none = stops(&[]);
        assert_eq!(none.push("abc"), StopOutcome { text: "abc".into(), matched: None });
        assert_eq!(none.finish(), "");
    }

    #[test]
    fn a_beginning_is_held_back_until_decided() {
        let mut stops = stops(&["</s>"]);
        assert_eq!(stops.push("one <").text, "one ");
        assert_eq!(stops.push("/").text, "");
        assert_eq!(stops.push("p>").text, "</p>");
        assert_eq!(stops.push("two </s").text, "two ");
        assert_eq!(stops.finish(), "</s");
    }

    #[test]
    fn stop_strings_span_pieces() {
        assert_eq!(run(&["END"], &["one E", "N", "D two"]), ("one ".into(), Some(0)));
    }

    #[test]
    fn a_stop_string_that_overlaps_itself_is_found() {
        assert_eq!(run(&["aab"], &["aaab"]), ("a".into(), Some(0)));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".into(), Some(0)));
        assert_eq!(run(&["abab"], &["abaabab"]), ("aba".into(), Some(0)));
    }

    #[test]
    fn prefixes_and_suffixes_of_each_other() {
        assert_eq!(run(&["abc", "ab"], &["xabc"]), ("x".into(), Some(1)));
        assert_eq!(run(&["bc", "abc"], &["xabc"]), ("x".into(), Some(1)));
        // `bc` is complete first, whatever the pieces.
        assert_eq!(run(&["abcd", "bc"], &["xabcd"]), ("xa".into(), Some(1)));
        assert_eq!(run(&["abcd", "bc"], &["xa", "bc", "d"]), ("xa".into(), Some(1)));
    }

    #[test]
    fn characters_of_several_bytes() {
        assert_eq!(run(&["é"], &["caf", "é!"]), ("caf".into(), Some(0)));
        // è and é share their first byte.
        assert_eq!(run(&["é"], &["mè", "re"]), ("mère".into(), None));
        assert_eq!(run(&["。\n"], &["好。", "好。\n"]), ("好。好".into(), Some(0)));
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        let error = StopStrings::new(&["a".into(), String::new()]).unwrap_err().to_string();
        assert!(error.starts_with("`stop` has an empty text at position 1"), "{error}");
    }

    /// The rule as the documentation states it, on the whole text.
    fn slow(texts: &[String], text: &str) -> (String, Option<usize>) {
        for end in 1..=text.len() {
            let found = (0..texts.len())
                .filter(|&index| text.as_bytes()[..end].ends_with(texts[index].as_bytes()))
                .max_by_key(|&index| (texts[index].len(), std::cmp::Reverse(index)));
            if let Some(index) = found {
                return (text[..end - texts[index].len()].to_owned(), Some(index));
            }
        }
        (text.to_owned(), None)
    }

    #[test]
    fn random_texts_agree_with_the_rule() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..3000 {
            let mut word = |longest: usize| -> String {
                let length = random.random_range(1..=longest);
                (0..length).map(|_| ['a', 'b', 'é', 'è'][random.random_range(0..4)]).collect()
            };
            let texts: Vec<String> = (0..3).map(|_| word(4)).collect();
            let pieces: Vec<String> = (0..6).map(|_| word(3)).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let names: Vec<&str> = texts.iter().map(String::as_str).collect();
            assert_eq!(run(&names, &pieces), slow(&texts, &pieces.concat()), "{texts:?} in {pieces:?}");
        }
    }
}
