//! Expansions as committed; `UPDATE_EXPECT=1 cargo test -p pipeline-macros` writes them anew.

use expect_test::expect_file;
use quote::quote;

use super::expansion;

#[test]
fn everything() {
    let expansion = expansion(
        quote!(
            arch = sparse,
            task = crate::tasks::Rhyme,
            hardware = rocm,
            dtype = bf16,
            crate = renamed::pipelines,
            route = self::route,
            custom(infer, format),
        ),
        quote! {
            #[derive(Clone, Debug)]
            pub(crate) struct Poet<'a, T: Send + Sync, const N: usize>
            where
                T: Clone,
            {
                #[param(default = 1, range = 0..=2)]
                pub temperature: f32,
                #[param]
                seed: Option<u64>,
                #[param(default = ["\n\n", "END"])]
                stop: Vec<String>,
                #[cfg(feature = "capacity")]
                #[param(default = 1.25)]
                capacity_factor: Option<f64>,
                #[param(default = true)]
                do_sample: bool,
                /// The poet's own.
                lines: [&'a T; N],
                #[cfg(feature = "rhymes")]
                rhymes: Rhymes,
            }
        },
    );
    expect_file!["../../expansions/everything.rs"].assert_eq(&expansion);
}

#[test]
fn stub() {
    let expansion = expansion(
        quote!(arch = moe, format = crate::format, custom(preprocess), dtpye = bf16),
        quote! {
            struct Storyteller(Vec<u8>);
        },
    );
    expect_file!["../../expansions/stub.rs"].assert_eq(&expansion);
}
