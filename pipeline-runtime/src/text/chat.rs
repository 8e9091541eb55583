//! Conversations written as prompts, by the template that comes with a checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Kwargs, Object, ValueKind};
use minijinja::{Environment, ErrorKind, State, Value, context};
use minijinja_contrib::pycompat;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The work that any template may do: about a million instructions, or 64 MB of text made on the way.
const BASE_FUEL: u64 = 1_000_000;
/// More for long conversations: templates look at every message many times.
const FUEL_PER_MESSAGE: u64 = 1_000;
/// One unit of fuel pays for 64 bytes, so each byte of a message may be handled 64 times.
const FUEL_PER_BYTE: u64 = 1;
/// Templates nest a few levels; the stack of a thread holds far more than this.
const RECURSION_LIMIT: usize = 100;
const NAME: &str = "chat_template";

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, or what else the template knows.
    pub role: String,
    /// What they say.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into() }
    }
}

/// Shows a message to the template as a dictionary with its keys in the usual order.
impl Object for Message {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "role" => Some(Value::from(self.role.as_str())),
            "content" => Some(Value::from(self.content.as_str())),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["role", "content"])
    }
}

/// A checkpoint's chat template: Jinja, with what Hugging Face adds to it (`raise_exception`, `strftime_now`, a
/// `tojson` that does not escape for HTML, `{% generation %}`) and Python's methods of texts and dictionaries.
///
/// A template is code from an untrusted file. It reaches nothing but the messages, and what it may compute is limited:
/// one that does not end, or that makes texts without end, fails. What the limit does not count are lists within lists:
/// a template made for nothing else can nest them until memory or stack runs out. `tojson` counts them.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::path::Path;
///
/// use pipeline_runtime::text::{ChatTemplate, Message};
///
/// let source = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'].strip() }}\n{% endfor %}";
/// let template = ChatTemplate::new(source, Path::new("chat_template.jinja"))?;
/// let prompt = template.render(&[Message::new("user", " Hello! ")], false, &BTreeMap::new())?;
/// assert_eq!(prompt, "[user] Hello!\n");
/// # Ok::<(), pipeline_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: PathBuf,
}

impl ChatTemplate {
    /// Parses a template. `file` is where it stands, for errors.
    ///
    /// # Errors
    /// Source that is no Jinja template.
    pub fn new(source: &str, file: &Path) -> Result<ChatTemplate> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the usual delimiters are valid"));
        environment.set_recursion_limit(RECURSION_LIMIT);
        environment.set_unknown_method_callback(python_method);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        let template = ChatTemplate { environment, file: file.to_owned() };
        let mut environment = template.environment.clone();
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| template.error(&error))?;
        Ok(ChatTemplate { environment, ..template })
    }

    /// Writes `messages` as a prompt. `add_generation_prompt` ends it with what introduces the model's answer.
    /// `special_tokens` are the texts that the template knows by names like `bos_token`.
    ///
    /// # Errors
    /// No messages, messages that the template refuses (many want user and assistant in turns), a template that
    /// computes beyond its limit.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        special_tokens: &BTreeMap<String, String>,
    ) -> Result<String> {
        if messages.is_empty() {
            return Err(Error::input("a conversation needs at least one message"));
        }
        let bytes: usize = messages.iter().map(|message| message.role.len() + message.content.len()).sum();
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(
            BASE_FUEL + FUEL_PER_MESSAGE * messages.len() as u64 + FUEL_PER_BYTE * bytes as u64,
        ));
        let messages: Vec<Value> = messages.iter().cloned().map(Value::from_object).collect();
        let values = context! {
            messages,
            add_generation_prompt,
            tools => (),
            documents => (),
            ..Value::from_pairs(special_tokens.iter().map(|(name, token)| (name.as_str(), token.as_str())))
        };
        let template = environment.get_template(NAME).map_err(|error| self.error(&error))?;
        template.render(values).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &minijinja::Error) -> Error {
        let file = self.file.display();
        let line = error.line().map(|line| format!(" line {line}:")).unwrap_or_default();
        let what = match error.kind() {
            ErrorKind::OutOfFuel => "it computes without end, or far more than a prompt needs".to_owned(),
            kind => match error.detail() {
                Some(detail) => detail.to_owned(),
                None => kind.to_string(),
            },
        };
        Error::ChatTemplate(format!("{file}:{line} {what}"))
    }
}

/// `{% generation %}` marks what an assistant said, for training. Here it is a block without effect.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        result.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let inside = &tag[2..end];
        let opening = if inside.starts_with(['-', '+']) { &inside[..1] } else { "" };
        let name = &inside[opening.len()..];
        let closing = if name.ends_with(['-', '+']) { &name[name.len() - 1..] } else { "" };
        match name[..name.len() - closing.len()].trim() {
            "generation" => result.push_str(&format!("{{%{opening} if true {closing}%}}")),
            "endgeneration" => result.push_str(&format!("{{%{opening} endif {closing}%}}")),
            _ => result.push_str(&tag[..end + 2]),
        }
        rest = &tag[end + 2..];
    }
    result.push_str(rest);
    result
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// Python's methods. Those that can make much of little pay before they do.
fn python_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, minijinja::Error> {
    if let Some(text) = value.as_str() {
        let made = match method {
            "replace" => {
                match (arguments.first().and_then(Value::as_str), arguments.get(1).and_then(Value::as_str)) {
                    (Some(old), Some(new)) => text.matches(old).count().saturating_mul(new.len()),
                    _ => 0,
                }
            }
            "join" => {
                let mut made = 0usize;
                if let Some(parts) = arguments.first() {
                    for part in parts.try_iter()? {
                        let part = part.as_str().ok_or_else(|| {
                            minijinja::Error::new(ErrorKind::InvalidOperation, "`join` takes a list of texts")
                        })?;
                        made = made.saturating_add(text.len() + part.len());
                    }
                }
                made
            }
            "format" => formatted_length(text, arguments)?,
            _ => 0,
        };
        state.consume_fuel((text.len() / 64) as u64)?;
        state.consume_fuel((made / 64) as u64)?;
    }
    pycompat::unknown_method_callback(state, value, method, arguments)
}

/// The greatest length that `str.format` can give: every number of the format may be a width, and every field may hold
/// the longest argument.
fn formatted_length(format: &str, arguments: &[Value]) -> Result<usize, minijinja::Error> {
    let mut longest = 0;
    let mut values = Vec::new();
    for argument in arguments {
        if argument.is_kwargs() {
            for key in argument.try_iter()? {
                values.push(argument.get_item(&key)?);
            }
        } else {
            values.push(argument.clone());
        }
    }
    for value in values {
        longest = longest.max(match value.kind() {
            ValueKind::String => value.as_str().map_or(0, str::len),
            ValueKind::Number | ValueKind::Bool | ValueKind::None => 512,
            _ => {
                let message = "`format` takes texts and numbers";
                return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
            }
        });
    }
    let fields = format.matches('{').count();
    let widths = format
        .split(|character: char| !character.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(usize::MAX))
        .fold(0, usize::saturating_add);
    Ok(fields.saturating_mul(longest).saturating_add(widths))
}

/// `json.dumps` of Python: `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn to_json(
    state: &State,
    value: &Value,
    ensure_ascii: Option<bool>,
    options: Kwargs,
) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (item, key) = match separators.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => {
            let message = "`tojson` takes two separators";
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
        }
    };
    let ensure_ascii = match ensure_ascii {
        Some(ensure_ascii) => ensure_ascii,
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut writer = JsonWriter { state, out: String::new(), ensure_ascii, indent, item, key, sort_keys };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

struct JsonWriter<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    out: String,
    ensure_ascii: bool,
    indent: Option<usize>,
    item: String,
    key: String,
    sort_keys: bool,
}

impl JsonWriter<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), minijinja::Error> {
        // A list can hold another many times over, so each visit is paid for, and so is what it writes.
        let before = self.out.len();
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => match f64::try_from(value.clone()) {
                Ok(number) if !value.is_integer() => self.out.push_str(&format!("{number:?}")),
                _ => self.out.push_str(&value.to_string()),
            },
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<(Option<Value>, Value)> = value.try_iter()?.map(|item| (None, item)).collect();
                self.items('[', items, ']', depth)?;
            }
            ValueKind::Map => {
                let mut items = Vec::new();
                for key in value.try_iter()? {
                    let item = value.get_item(&key)?;
                    items.push((Some(key), item));
                }
                if self.sort_keys {
                    items.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.items('{', items, '}', depth)?;
            }
            kind => {
                let message = format!("`tojson` cannot write a value that is {kind}");
                return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        self.state.consume_fuel(((self.out.len() - before) / 64) as u64)
    }

    fn items(
        &mut self,
        open: char,
        items: Vec<(Option<Value>, Value)>,
        close: char,
        depth: usize,
    ) -> Result<(), minijinja::Error> {
        if depth >= RECURSION_LIMIT {
            return Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                "`tojson` of a value nested too deeply",
            ));
        }
        self.out.push(open);
        let count = items.len();
        for (position, (key, item)) in items.into_iter().enumerate() {
            self.line(depth + 1)?;
            if let Some(key) = key {
                self.text(&key.to_string());
                self.out.push_str(&self.key);
            }
            self.value(&item, depth + 1)?;
            if position + 1 < count {
                self.out.push_str(&self.item);
            }
        }
        if count > 0 {
            self.line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    /// Begins a line where there is an indentation.
    fn line(&mut self, depth: usize) -> Result<(), minijinja::Error> {
        if let Some(indent) = self.indent {
            let width = indent.saturating_mul(depth);
            self.state.consume_fuel((width / 64) as u64)?;
            self.out.push('\n');
            self.out.push_str(&" ".repeat(width));
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                character if u32::from(character) < 0x20 || (self.ensure_ascii && !character.is_ascii()) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                character => self.out.push(character),
            }
        }
        self.out.push('"');
    }
}

/// The present time in UTC, as `format` says.
fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    strftime(format, seconds)
}

/// `seconds` since 1970 as `format` says, by the directives of Python's `strftime` in its C locale.
fn strftime(format: &str, seconds: u64) -> Result<String, minijinja::Error> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const WEEKDAYS: [&str; 7] =
        ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let hour_of_twelve = (hour + 11) % 12 + 1;
    let weekday = (days + 4) % 7;
    let day_of_year = days - days_before(year) + 1;
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let mut directive = characters.next();
        // `%-d` is a number without leading zeros.
        let bare = directive == Some('-');
        if bare {
            directive = characters.next();
        }
        let number = |value: u64, width: usize| {
            if bare { value.to_string() } else { format!("{value:0width$}") }
        };
        let part = match directive {
            Some('Y') => year.to_string(),
            Some('y') => number(year % 100, 2),
            Some('m') => number(month, 2),
            Some('d') => number(day, 2),
            Some('e') => format!("{day:2}"),
            Some('j') => number(day_of_year, 3),
            Some('H') => number(hour, 2),
            Some('I') => number(hour_of_twelve, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('f') => "000000".into(),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
            Some('B') => MONTHS[month as usize - 1].into(),
            Some('b' | 'h') => MONTHS[month as usize - 1][..3].into(),
            Some('A') => WEEKDAYS[weekday as usize].into(),
            Some('a') => WEEKDAYS[weekday as usize][..3].into(),
            Some('w') => weekday.to_string(),
            Some('u') => ((weekday + 6) % 7 + 1).to_string(),
            Some('F') => strftime("%Y-%m-%d", seconds)?,
            Some('T') => strftime("%H:%M:%S", seconds)?,
            Some('R') => strftime("%H:%M", seconds)?,
            Some('D') => strftime("%m/%d/%y", seconds)?,
            Some('c') => strftime("%a %b %e %H:%M:%S %Y", seconds)?,
            Some('x') => strftime("%m/%d/%y", seconds)?,
            Some('X') => strftime("%H:%M:%S", seconds)?,
            Some('s') => seconds.to_string(),
            Some('Z') => "UTC".into(),
            Some('z') => "+0000".into(),
            Some('%') => "%".into(),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                let message = format!("`strftime_now` does not know `%{other}`");
                return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
            }
        };
        text.push_str(&part);
    }
    Ok(text)
}

/// Days from 1970 to the first of `year` of the Gregorian calendar.
fn days_before(year: u64) -> u64 {
    let past = year - 1;
    (year - 1970) * 365 + (past / 4 - past / 100 + past / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400)
}

/// Year, month and day of the month, `days` after the first of January 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    // 400 years have 146097 days; the estimate is never too low, and at most one too high.
    let mut year = 1970 + days * 400 / 146_097 + 1;
    while days_before(year) > days {
        year -= 1;
    }
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut rest = days - days_before(year);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, length) in (1..).zip(lengths) {
        if rest < length {
            return (year, month, rest + 1);
        }
        rest -= length;
    }
    unreachable!("the days of a year are those of its months")
}

#[cfg(test)]
mod tests;
