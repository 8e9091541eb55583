#![deny(warnings, missing_docs, unused, unreachable_pub, rust_2018_idioms, unused_qualifications)]
#![deny(single_use_lifetimes, trivial_casts, unused_lifetimes, unused_results, missing_debug_implementations)]
#![deny(non_ascii_idents, unsafe_code, variant_size_differences, elided_lifetimes_in_paths)]
//! A crate that takes no warning.

use pipelines::prelude::*;

/// Tells stories.
#[pipeline(arch = moe, hardware = [cuda, rocm, cpu], model = "checkpoints/tiny", format = format)]
#[derive(Clone, Debug)]
pub struct Storyteller {
    /// How wild they are.
    #[param(default = 0.8, range = 0.1..=1.5)]
    pub temperature: f32,
    /// The teller's own.
    pub name: String,
}

fn format(
    _: &Storyteller,
    call: &CallOf<'_, Storyteller>,
    raw: RawOf<Storyteller>,
) -> Result<Vec<OutputOf<Storyteller>>> {
    pipelines::declared::format::<Storyteller>(call, raw)
}

fn main() {
    assert_eq!(Storyteller::NAME, "Storyteller");
}
