//! A documented item for every word that a declaration may use, made from the tables: what an editor completes and shows.
//! Declarations name these items where they stand in words.

use pipeline_schema::{ArchitectureSpec, DType, Hardware, TaskSpec, arch};
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};

use crate::model::StageName;
use crate::parse::keys::{Key, PARAM_KEYS, PIPELINE_KEYS};
use crate::parse::words::{LISTS, Words, identifier};

/// The modules that [`LISTS`](crate::parse::words::LISTS) names. A word stands for the type, the variant or the trait that
/// it means; a key has nothing of the kind.
pub(crate) fn words() -> TokenStream {
    let (keys, params) = (keys(&PIPELINE_KEYS), keys(&PARAM_KEYS));
    let arch = uses(arch::running().map(|spec| (spec.type_name.to_owned(), spec.name)));
    let task = uses(running_tasks().iter().map(|spec| (spec.type_name.to_owned(), spec.name)));
    let hardware = Hardware::ALL.into_iter().map(|hardware| (format!("{hardware:?}"), hardware.name()));
    let dtype = DType::ALL.into_iter().map(|dtype| (format!("{dtype:?}"), dtype.name()));
    let custom = StageName::ALL.into_iter().map(|stage| (stage.trait_name().to_owned(), stage.word()));
    let (hardware, dtype, custom) = (uses(hardware), uses(dtype), uses(custom));
    quote! {
        pub mod keys { #keys }
        pub mod arch { pub use ::pipeline_runtime::arch::{#arch}; }
        pub mod task { pub use ::pipeline_runtime::task::{#task}; }
        pub mod hardware { pub use ::pipeline_runtime::Hardware::{#hardware}; }
        pub mod dtype { pub use ::pipeline_runtime::DType::{#dtype}; }
        pub mod custom { pub use ::pipeline_runtime::stage::{#custom}; }
        pub mod param { #params }
    }
}

/// Names the item of every word in the module of its list, where an editor finds what a complete word means and what an
/// incomplete one can become; a list is there as soon as its key is.
///
/// `attributes` are braces around what stands in the parentheses of `#[pipeline(...)]`, and then of every `#[param(...)]`.
pub(crate) fn look_up(attributes: TokenStream) -> TokenStream {
    let mut attributes = attributes.into_iter().filter_map(|token| match token {
        TokenTree::Group(braces) => Some(braces.stream()),
        _ => None,
    });
    let words = Words::of(attributes.next().unwrap_or_default(), attributes);
    let span = Span::mixed_site();
    let lists = LISTS.iter().zip(&words.0).filter_map(|(list, words)| {
        let (list, words) = (Ident::new(list, span), words.as_ref()?);
        Some(quote_spanned!(span=> #list::{#(#words as _),*}))
    });
    quote_spanned!(span=> use __private::words::{#(#lists),*};)
}

/// What some architecture does in this version, each task once.
pub(crate) fn running_tasks() -> Vec<&'static TaskSpec> {
    let mut tasks: Vec<&TaskSpec> = Vec::new();
    for task in arch::running().flat_map(ArchitectureSpec::running_tasks) {
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    tasks
}

/// `Moe as moe, Text as text,`.
fn uses<'a>(words: impl Iterator<Item = (String, &'a str)>) -> TokenStream {
    let words = words.map(|(item, word)| {
        let (item, word) = (format_ident!("{item}"), format_ident!("{}", identifier(word)));
        quote!(#item as #word,)
    });
    words.collect()
}

/// A documented type for every key. `crate` can have none: no item can be called that.
fn keys(keys: &[Key]) -> TokenStream {
    let keys = keys.iter().filter(|key| key.name != "crate").map(|Key { name, description }| {
        let name = format_ident!("{name}");
        quote! {
            #[doc = #description]
            #[allow(non_camel_case_types)]
            pub struct #name;
        }
    });
    keys.collect()
}
