//! Third step: the rules. What they accept is the model that `expand` takes.

mod params;
mod stages;
mod words;

use std::path::Path;

use pipeline_schema::{ArchitectureSpec, Value};
use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::{Ident, ItemStruct};

use crate::error::Errors;
use crate::model::{Architecture, Outline, Pipeline};
use crate::parse::{Arguments, Declared};

/// The value that a declaration gives to a parameter, for the rules, and where it stands.
struct DeclaredValue {
    name: String,
    value: Value,
    tokens: TokenStream,
}

/// Holds a declaration against every rule. After a mistake there is only an outline.
///
/// `manifest_directory` is where the paths of the declaration begin.
pub(crate) fn validate(
    arguments: &Arguments,
    declared: Declared,
    manifest_directory: Option<&Path>,
    errors: &mut Errors,
) -> Result<Pipeline, Outline> {
    let Declared { item, fields } = declared;
    let architecture = words::architecture(arguments, &item.ident, errors);
    let task = words::task(arguments, &architecture, errors);
    let hardware = words::hardware(arguments, errors);
    let dtype = words::dtype(arguments, errors);
    let stages = stages::stages(arguments, errors);
    let spec = spec_of(&architecture);
    let mut values = Vec::new();
    let fields = fields.into_iter().map(|field| params::field(field, spec, &mut values, errors)).collect();
    let _ = (manifest_directory, &values);
    let crate_path = crate_path(arguments, &item);
    let outline = Outline { item, crate_path, architecture, task, stages };
    if errors.is_empty() {
        Ok(Pipeline { outline, hardware, model: None, dtype, fields })
    } else {
        Err(outline)
    }
}

fn spec_of(architecture: &Architecture) -> Option<&'static ArchitectureSpec> {
    match architecture {
        Architecture::Known { spec, .. } => Some(spec),
        Architecture::Own(_) => None,
    }
}

/// The path of the crate that generated code refers to, located where it would be mended.
fn crate_path(arguments: &Arguments, item: &ItemStruct) -> syn::Path {
    arguments.crate_path.clone().unwrap_or_else(|| {
        let name = Ident::new("pipelines", at(item.ident.span()));
        let tokens = quote_spanned!(at(item.ident.span())=> ::#name);
        syn::parse2(tokens).expect("`::pipelines` is a path")
    })
}

fn at(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}
