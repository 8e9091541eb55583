//! The `#[pipeline]` attribute.

mod attribute;
mod checkpoints;
mod error;
mod expand;
mod model;
mod parse;
#[cfg(test)]
mod tests;
mod validate;

use proc_macro::TokenStream;

/// Declares an inference pipeline.
#[proc_macro_attribute]
pub fn pipeline(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let manifest_directory = std::env::var_os("CARGO_MANIFEST_DIR").map(std::path::PathBuf::from);
    attribute::pipeline(arguments.into(), item.into(), manifest_directory.as_deref()).into()
}
