//! Scanning large JSON for the little that is wanted of it.
//!
//! Headers, indices and tokenizers have megabytes, and the macro that reads them is mostly built without
//! optimisation, where a general parser takes some 40 ns a byte. This one takes a few: its loops
//! call nothing, and what is skipped is not looked at closely (brackets are counted, not matched).

use std::borrow::Cow;

/// Where in a JSON text the scanner stands. Errors end in line and column.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the beginning of `json`, which must be UTF-8.
    pub(super) fn new(json: &'a [u8]) -> Result<Scanner<'a>, String> {
        match std::str::from_utf8(json) {
            Ok(text) => Ok(Scanner { text, at: 0 }),
            Err(error) => Err(format!("invalid UTF-8 at byte {}", error.valid_up_to())),
        }
    }

    /// Calls `each` for every key of an object, with the scanner at the value, which it must take.
    pub(super) fn object(
        &mut self,
        what: &str,
        mut each: impl FnMut(&mut Scanner<'a>, Cow<'a, str>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.open(b'{', what)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string("a key")?;
            if !self.take(b':') {
                return Err(self.expected("`:`"));
            }
            each(self, key)?;
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    /// Calls `each` for every item of a list, with the scanner at the item, which it must take.
    pub(super) fn list(
        &mut self,
        what: &str,
        mut each: impl FnMut(&mut Scanner<'a>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.open(b'[', what)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    /// A text.
    pub(super) fn string(&mut self, what: &str) -> Result<Cow<'a, str>, String> {
        let start = self.peek_string(what)?;
        let escaped = self.skip_string()?;
        let (text, end) = (self.text, self.at);
        if !escaped {
            return Ok(Cow::Borrowed(&text[start + 1..end - 1]));
        }
        serde_json::from_str(&text[start..end]).map(Cow::Owned).map_err(|_| {
            self.at = start;
            self.error("invalid escape in a text")
        })
    }

    /// A text, and before it how it is written, quotes included.
    pub(super) fn written_string(&mut self, what: &str) -> Result<(&'a str, Cow<'a, str>), String> {
        let start = self.peek_string(what)?;
        let string = self.string(what)?;
        Ok((&self.text[start..self.at], string))
    }

    /// Takes a text that is written as `raw` is, quotes included, if it is next.
    pub(super) fn repeats(&mut self, raw: &str) -> bool {
        let repeats = !raw.is_empty() && self.rest().starts_with(raw.as_bytes());
        if repeats {
            self.at += raw.len();
        }
        repeats
    }

    /// A whole number from 0 to 2^64 - 1.
    pub(super) fn unsigned(&mut self, what: &str) -> Result<u64, String> {
        self.skip_space();
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut number = 0_u64;
        let mut at = start;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            match number.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(bytes[at] - b'0'))) {
                Some(next) => number = next,
                None => return Err(self.expected(what)),
            }
            at += 1;
        }
        // A fraction or an exponent follows, or there is no number.
        if at == start || bytes.get(at).is_some_and(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            return Err(self.expected(what));
        }
        self.at = at;
        Ok(number)
    }

    /// Whether the value is a list.
    pub(super) fn at_list(&mut self) -> bool {
        self.skip_space();
        self.text.as_bytes().get(self.at) == Some(&b'[')
    }

    /// Takes `null`, if it is next.
    pub(super) fn null(&mut self) -> bool {
        self.skip_space();
        let is_null = self.text[self.at..].starts_with("null");
        if is_null {
            self.at += "null".len();
        }
        is_null
    }

    /// What comes next, white space left out.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.skip_space();
        &self.text.as_bytes()[self.at..]
    }

    /// Takes the next `bytes` bytes, the last of which is a character of its own.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The text of a value of any kind, for a parser that looks at it closely.
    pub(super) fn raw(&mut self) -> Result<&'a str, String> {
        self.skip_space();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Skips a value of any kind and depth.
    pub(super) fn skip(&mut self) -> Result<(), String> {
        self.skip_space();
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        loop {
            let Some(&byte) = bytes.get(self.at) else { return Err(self.expected("a value")) };
            match byte {
                b'"' => {
                    self.skip_string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    if depth == 0 {
                        return Err(self.expected("a value"));
                    }
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\n' | b'\t' | b'\r' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                    let mut at = self.at + 1;
                    while at < bytes.len()
                        && matches!(bytes[at], b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
                    {
                        at += 1;
                    }
                    self.at = at;
                }
                _ => return Err(self.expected("a value")),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Nothing but white space follows.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.expected("nothing more")) }
    }

    /// An error at the value that the scanner is at.
    pub(super) fn expected(&mut self, what: &str) -> String {
        self.skip_space();
        let rest = &self.text[self.at..];
        let found = rest.find([',', ':', '}', ']', '\n']).map_or(rest, |end| &rest[..end.max(1)]);
        // Enough to recognise it.
        let found: String = found.chars().take(24).collect();
        if found.is_empty() {
            self.error(&format!("expected {what}, found the end"))
        } else {
            self.error(&format!("expected {what}, found {}", crate::problem::quoted(&found)))
        }
    }

    /// `message`, and where.
    fn error(&self, message: &str) -> String {
        let before = &self.text[..self.at];
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let column = self.at - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        format!("{message} at line {line} column {column}")
    }

    /// Takes `byte` after white space, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let bytes = self.text.as_bytes();
        let taken = self.at < bytes.len() && bytes[self.at] == byte;
        if taken {
            self.at += 1;
        }
        taken
    }

    fn open(&mut self, bracket: u8, what: &str) -> Result<(), String> {
        if self.take(bracket) { Ok(()) } else { Err(self.expected(what)) }
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        while at < bytes.len() && matches!(bytes[at], b' ' | b'\n' | b'\t' | b'\r') {
            at += 1;
        }
        self.at = at;
    }

    /// Where the text that comes next begins.
    fn peek_string(&mut self, what: &str) -> Result<usize, String> {
        self.skip_space();
        match self.text.as_bytes().get(self.at) {
            Some(b'"') => Ok(self.at),
            _ => Err(self.expected(what)),
        }
    }

    /// Moves from an opening quote to behind the closing one, and says whether there were escapes between.
    fn skip_string(&mut self) -> Result<bool, String> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        let mut escaped = false;
        while at < bytes.len() {
            let byte = bytes[at];
            if byte == b'"' {
                self.at = at + 1;
                return Ok(escaped);
            }
            if byte == b'\\' {
                escaped = true;
                at += 1;
            }
            at += 1;
        }
        Err(self.error("a text without an end"))
    }
}

#[cfg(test)]
mod tests {
    use super::Scanner;

    #[test]
    fn values_are_skipped_whatever_they_are() {
        let json = br#" {"a": [1, -2.5e+3, {"b": "x\"}"}, null], "c": true, "d" : "last"} "#;
        let mut scanner = Scanner::new(json).unwrap();
        let mut found = None;
        let each = |scanner: &mut Scanner<'static>, key: std::borrow::Cow<'static, str>| {
            if key == "d" {
                found = Some(scanner.string("a text")?);
                return Ok(());
            }
            scanner.skip()
        };
        scanner.object("an object", each).unwrap();
        scanner.end().unwrap();
        assert_eq!(found.unwrap(), "last");
    }

    #[test]
    fn escapes_are_resolved() {
        let string = |json: &'static str| Scanner::new(json.as_bytes()).unwrap().string("a text");
        assert_eq!(string(r#""\u0061\n\\ü""#).unwrap(), "a\n\\ü");
        assert_eq!(string(r#""\ud800""#).unwrap_err(), "invalid escape in a text at line 1 column 1");
        assert_eq!(string(r#""abc\"#).unwrap_err(), "a text without an end at line 1 column 1");
    }

    #[test]
    fn numbers_are_whole_and_fit() {
        let number = |json: &'static str| Scanner::new(json.as_bytes()).unwrap().unsigned("a size");
        assert_eq!(number(" 18446744073709551615"), Ok(u64::MAX));
        for wrong in ["18446744073709551616", "-1", "1.5", "1e3", "x", "\"1\""] {
            let found = format!("expected a size, found `{wrong}` at line 1 column 1");
            assert_eq!(number(wrong), Err(found));
        }
        assert_eq!(number("\n "), Err("expected a size, found the end at line 2 column 2".to_owned()));
    }

    #[test]
    fn malformed_json_is_refused() {
        for json in [
            "",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "[]",
            "{\"a\":]}",
        ] {
            let mut scanner = Scanner::new(json.as_bytes()).unwrap();
            assert!(scanner.object("an object", |scanner, _| scanner.skip()).is_err(), "{json}");
        }
        let deep = "[".repeat(1_000_000);
        assert!(Scanner::new(deep.as_bytes()).unwrap().skip().is_err());
        assert!(Scanner::new(b"\"\xff\"").is_err());
    }
}
