//! Third step: the rules. What they accept is the model that `expand` takes.
//!
//! Rules that the loader applies as well live in `pipeline-schema`; here are those of the Rust code around them.

mod literals;
mod model;
mod params;
mod parts;
mod shared;
mod stages;
mod types;
mod words;

use std::path::Path;

use pipeline_schema::{ARCHITECTURES, ArchitectureSpec, Value};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;

use crate::error::Errors;
use crate::model::{Architecture, Outline, Pipeline, Task};
use crate::parse::words::Words;
use crate::parse::{Arguments, Declared};

/// A parameter as declared, for the rules, and where it stands.
struct DeclaredValue {
    name: String,
    value: Option<Value>,
    tokens: TokenStream,
}

/// Holds a declaration against every rule. After a mistake there is only an outline.
///
/// `manifest_directory` is where the paths of the declaration begin.
pub(crate) fn validate(
    arguments: &Arguments,
    declared: Declared,
    words: Words,
    manifest_directory: Option<&Path>,
    errors: &mut Errors,
) -> Result<Pipeline, Box<Outline>> {
    let Declared { item, written, fields, .. } = declared;
    let (architecture, certain) = words::architecture(arguments, &item.ident, errors);
    let spec = if certain { spec_of(&architecture) } else { None };
    let task = words::task(arguments, &architecture, errors);
    // An architecture of the user's own with no task cannot be put into the stub: a known one stands in for it.
    let known = |spec: &'static ArchitectureSpec| {
        let span = item.ident.span();
        (Architecture::Known { spec, span }, Task::Known { spec: spec.default_task(), span })
    };
    let (architecture, task) = match task {
        Some(task) => (architecture, task),
        None => known(ARCHITECTURES[0]),
    };
    let hardware = words::hardware(arguments, errors);
    let dtype = words::dtype(arguments, errors);
    let stages = stages::stages(arguments, errors);
    let parts = parts::parts(arguments, &architecture, errors);
    let checkpoint = model::read(arguments, manifest_directory, errors);
    let mut values = Vec::new();
    let fields = fields.into_iter().map(|field| params::field(field, spec, &mut values, errors)).collect();
    let subjects = shared::Subjects { arguments, name: &item.ident, values: &values, parts: &parts };
    shared::check(spec, &task, &hardware, dtype, checkpoint.as_deref(), &subjects, errors);
    let crate_path = crate_path(arguments, &item.ident);
    let outline = Outline { item, written, words, crate_path, architecture, task, stages };
    let model = checkpoint.and_then(|checkpoint| model::declared(arguments, manifest_directory, &checkpoint));
    if errors.is_empty() {
        Ok(Pipeline { outline, hardware, model, dtype, parts, fields })
    } else {
        Err(Box::new(outline))
    }
}

fn spec_of(architecture: &Architecture) -> Option<&'static ArchitectureSpec> {
    match architecture {
        Architecture::Known { spec, .. } => Some(spec),
        Architecture::Own(_) => None,
    }
}

/// The path of the crate that generated code refers to: the user's tokens, or located at the struct's name.
fn crate_path(arguments: &Arguments, name: &Ident) -> syn::Path {
    arguments.crate_path.clone().unwrap_or_else(|| {
        let span = Span::mixed_site().located_at(name.span());
        syn::parse2(quote_spanned!(span=> ::pipelines)).expect("`::pipelines` is a path")
    })
}
