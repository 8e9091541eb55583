//! What `#[pipeline(...)]` says.

use pipeline_schema::suggest;
use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprPath, Lit, LitStr, Path, Result, Token};

use super::keys::{self, Entry, PIPELINE_KEYS, PipelineKeys, Unknown};
use super::value::{Word, ungroup};
use crate::error::Errors;
use crate::model::StageName;

/// What `#[pipeline(...)]` says: every key at most once, every value of the right form.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) arch: Option<Word>,
    pub(crate) task: Option<Word>,
    pub(crate) hardware: Option<HardwareList>,
    pub(crate) model: Option<LitStr>,
    pub(crate) dtype: Option<Word>,
    pub(crate) crate_path: Option<Path>,
    pub(crate) overrides: Vec<Override>,
    pub(crate) custom: Vec<Ident>,
    pub(crate) parts: Vec<PartArgument>,
    /// Keys whose value could not be read: they are not reported as missing as well.
    pub(crate) unreadable: Vec<&'static str>,
}

/// `hardware = [...]`, with the whole list for what is wrong with all of it.
pub(crate) struct HardwareList {
    pub(crate) words: Vec<Word>,
    pub(crate) tokens: Expr,
}

/// `stage = path::to::function`.
pub(crate) struct Override {
    pub(crate) stage: StageName,
    pub(crate) key: Path,
    pub(crate) function: Path,
}

/// `generator = Storyteller`: a key that is not one of the attribute's own, with a type.
pub(crate) struct PartArgument {
    pub(crate) name: Ident,
    pub(crate) pipeline: Path,
}

impl Arguments {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Arguments {
        let (mut keys, complete): (PipelineKeys, _) = keys::read(tokens, &PIPELINE_KEYS, errors);
        let parts = parts(&mut keys.unknown);
        keys.unknown.check(&PIPELINE_KEYS, errors);
        let mut reader = Reader { errors, unreadable: Vec::new() };
        let mut arguments = Arguments {
            arch: reader.read(keys.arch, "arch", |entry| word_or_type(entry, "arch = \"moe\"")),
            task: reader.read(keys.task, "task", |entry| word_or_type(entry, "task = \"text-generation\"")),
            hardware: reader.read(keys.hardware, "hardware", hardware),
            model: reader.read(keys.model, "model", model),
            dtype: reader.read(keys.dtype, "dtype", dtype),
            crate_path: reader.read(keys.crate_path, "crate", crate_path),
            custom: custom(keys.custom, reader.errors),
            parts,
            ..Arguments::default()
        };
        for (stage, entries) in [
            (StageName::Preprocess, keys.preprocess),
            (StageName::Route, keys.route),
            (StageName::Infer, keys.infer),
            (StageName::Format, keys.format),
        ] {
            let function = reader
                .read(entries, stage.word(), |entry| Ok((entry.key().clone(), function(entry, stage)?)));
            arguments.overrides.extend(function.map(|(key, function)| Override { stage, key, function }));
        }
        arguments.unreadable = reader.unreadable;
        if !complete {
            arguments.unreadable.extend(PIPELINE_KEYS);
        }
        arguments
    }
}

/// Reads the one value of a key and remembers the keys where that failed.
struct Reader<'e> {
    errors: &'e mut Errors,
    unreadable: Vec<&'static str>,
}

impl Reader<'_> {
    fn read<T>(
        &mut self,
        entries: Vec<Entry>,
        key: &'static str,
        read: impl FnOnce(&Entry) -> Result<T>,
    ) -> Option<T> {
        let entry = keys::single(entries, self.errors)?;
        let value = self.errors.ok(read(&entry));
        if value.is_none() {
            self.unreadable.push(key);
        }
        value
    }
}

/// A word, or the path of a type, written as in an expression or as in a type.
fn word_or_type(entry: &Entry, example: &str) -> Result<Word> {
    let tokens = entry.value_tokens().unwrap_or_default();
    match entry.value(example) {
        Ok(expr) => word(expr, example),
        Err(error) => syn::parse2::<Path>(tokens).map(Word::Path).map_err(|_| error),
    }
}

/// Takes what may be parts out of the unknown keys: those with the path of a type, whose name is in upper case.
///
/// Which parts there are is up to the architecture.
fn parts(unknown: &mut Unknown) -> Vec<PartArgument> {
    let part = |entry: &Entry| {
        let name = entry.key().get_ident()?.clone();
        let pipeline = match word_or_type(entry, "").ok()? {
            Word::Bare(ident) => Path::from(ident),
            Word::Path(path) => path,
            Word::Quoted(_) | Word::Dashed { .. } => return None,
        };
        let last = pipeline.segments.last()?.ident.to_string();
        last.starts_with(char::is_uppercase).then_some(PartArgument { name, pipeline })
    };
    let mut parts = Vec::new();
    unknown.0.retain(|entry| match part(entry) {
        Some(part) => {
            parts.push(part);
            false
        }
        None => true,
    });
    parts
}

fn word(expr: &Expr, example: &str) -> Result<Word> {
    Word::from_expr(expr).ok_or_else(|| {
        Error::new_spanned(expr, format!("expected a word, bare or in quotes, as in `{example}`"))
    })
}

fn dtype(entry: &Entry) -> Result<Word> {
    let example = "dtype = \"bf16\"";
    word(entry.value(example)?, example)
}

fn hardware(entry: &Entry) -> Result<HardwareList> {
    let example = "hardware = [cuda, rocm, cpu]";
    let expr = entry.value(example)?;
    let words = match ungroup(expr) {
        Expr::Array(array) => {
            array.elems.iter().map(|element| word(element, example)).collect::<Result<_>>()?
        }
        single => vec![word(single, example)?],
    };
    Ok(HardwareList { words, tokens: expr.clone() })
}

fn model(entry: &Entry) -> Result<LitStr> {
    let expr = entry.value("model = \"checkpoints/my-model\"")?;
    match ungroup(expr) {
        Expr::Lit(literal) if matches!(literal.lit, Lit::Str(_)) => match &literal.lit {
            Lit::Str(text) => Ok(text.clone()),
            _ => unreachable!("the guard takes texts only"),
        },
        _ => Err(Error::new_spanned(expr, "expected the path of a directory, in quotes")),
    }
}

fn crate_path(entry: &Entry) -> Result<Path> {
    let example = "crate = path::to::pipelines";
    match entry.value(example).map(ungroup) {
        Ok(Expr::Path(ExprPath { qself: None, path, .. })) => Ok(path.clone()),
        Ok(Expr::Lit(literal)) => match &literal.lit {
            Lit::Str(text) => text
                .parse_with(Path::parse_mod_style)
                .map_err(|_| Error::new_spanned(text, format!("expected a path; write `{example}`"))),
            _ => Err(Error::new_spanned(literal, format!("expected a path; write `{example}`"))),
        },
        Ok(other) => Err(Error::new_spanned(other, format!("expected a path; write `{example}`"))),
        // `crate` is a whole expression to the parser only with something after it.
        Err(error) => {
            let tokens = entry.value_tokens().unwrap_or_default();
            Path::parse_mod_style.parse2(tokens).map_err(|_| error)
        }
    }
}

fn function(entry: &Entry, stage: StageName) -> Result<Path> {
    let word = stage.word();
    let example = format!("{word} = path::to::function");
    let expr = entry.value(&example)?;
    match ungroup(expr) {
        Expr::Path(ExprPath { qself: None, path, .. }) => Ok(path.clone()),
        _ => Err(Error::new_spanned(
            expr,
            format!(
                "expected the path of a function; write `{example}`, or `custom({word})` and `impl {}`",
                stage.trait_name()
            ),
        )),
    }
}

/// The words of every `custom(...)`.
///
/// `custom` takes a list of stages in parentheses.
fn custom(entries: Vec<Entry>, errors: &mut Errors) -> Vec<Ident> {
    let mut stages = Vec::new();
    for entry in entries {
        let Some(tokens) = entry.list() else {
            let instead = "write `custom(format)` to implement that stage yourself";
            errors.push(entry.key(), format!("`custom` takes stages in parentheses; {instead}"));
            continue;
        };
        if tokens.is_empty() {
            let instead = suggest::one_of(StageName::ALL.map(StageName::word));
            errors.push(entry.key(), format!("`custom()` names no stage; {instead}"));
        }
        let parser = |input: ParseStream<'_>| {
            Punctuated::<Ident, Token![,]>::parse_terminated_with(input, Ident::parse_any)
        };
        match parser.parse2(tokens.clone()) {
            Ok(words) => stages.extend(words),
            Err(_) => {
                let instead = suggest::one_of(StageName::ALL.map(StageName::word));
                errors.push(tokens, format!("`custom` takes the names of stages; {instead}"));
            }
        }
    }
    stages
}
