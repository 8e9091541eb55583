//! A documented item for every word that a declaration may use, made from the tables: what an editor completes and shows.

use pipeline_schema::{ARCHITECTURES, DType, Hardware, task};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use crate::model::StageName;
use crate::parse::keys::{Key, PARAM_KEYS, PIPELINE_KEYS};
use crate::parse::words::identifier;

/// The modules that [`LISTS`](crate::parse::words::LISTS) names. A word stands for the type, the variant or the trait that
/// it means; a key has nothing of the kind.
pub(crate) fn words() -> TokenStream {
    let (keys, params) = (keys(&PIPELINE_KEYS), keys(&PARAM_KEYS));
    let running = ARCHITECTURES.into_iter().filter(|spec| spec.runs());
    let arch = uses(running.map(|spec| (spec.type_name.to_owned(), spec.name)));
    let task = uses(task::TASKS.iter().map(|spec| (spec.type_name.to_owned(), spec.name)));
    let hardware = uses(Hardware::ALL.into_iter().map(|hardware| (format!("{hardware:?}"), hardware.name())));
    let dtype = uses(DType::ALL.into_iter().map(|dtype| (format!("{dtype:?}"), dtype.name())));
    let custom = uses(StageName::ALL.into_iter().map(|stage| (stage.trait_name().to_owned(), stage.word())));
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

/// `Moe as moe, Text as text,`.
fn uses(words: impl Iterator<Item = (String, &'static str)>) -> TokenStream {
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
