//! Errors are collected, so that a declaration's mistakes are all reported at once.

use std::any::Any;
use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Error;

/// The mistakes found so far. It panics when it is dropped without having been asked for them.
pub(crate) struct Errors {
    errors: Vec<Error>,
    taken: bool,
}

impl Errors {
    pub(crate) fn new() -> Errors {
        Errors { errors: Vec::new(), taken: false }
    }

    /// Adds a mistake, marked on all of `tokens`.
    pub(crate) fn push(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.errors.push(Error::new_spanned(tokens, message));
    }

    /// Adds what the parser says.
    pub(crate) fn add(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// The value, or nothing and one mistake more.
    pub(crate) fn ok<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.errors.len()
    }

    /// All mistakes, as invocations of `compile_error!`.
    pub(crate) fn into_compile_errors(mut self) -> TokenStream {
        self.taken = true;
        self.errors.iter().map(Error::to_compile_error).collect()
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        if !self.taken && !std::thread::panicking() {
            panic!("{} errors were collected and never reported", self.errors.len());
        }
    }
}

/// What is said about a panic of the macro itself.
pub(crate) fn bug(panic: &(dyn Any + Send)) -> String {
    let reason = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(reason), _) => reason,
        (None, Some(reason)) => reason.as_str(),
        (None, None) => "no reason given",
    };
    format!(
        "`#[pipeline]` panicked: {reason}\nthis is a bug in `pipelines`, not in your code; please report it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "1 errors were collected and never reported")]
    fn errors_cannot_be_forgotten() {
        let mut errors = Errors::new();
        errors.push(quote::quote!(token), "a mistake");
    }

    #[test]
    fn a_panic_is_called_a_bug() {
        let panic = std::panic::catch_unwind(|| panic!("index out of bounds")).unwrap_err();
        assert_eq!(
            bug(panic.as_ref()),
            "`#[pipeline]` panicked: index out of bounds\nthis is a bug in `pipelines`, not in your code; please report it",
        );
    }
}
