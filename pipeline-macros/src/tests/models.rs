//! Declarations with a model.

use std::fs;

use expect_test::expect_file;
use quote::quote;

use super::{checkpoints, expansion_in};

#[test]
fn the_model_is_in_the_expansion() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    checkpoints::write(&directory.path().join("crate"));
    let expansion = expansion_in(
        Some(&directory.path().join("crate")),
        quote!(
            arch = "moe",
            task = "text-generation",
            hardware = [cuda, rocm, cpu],
            model = "checkpoints/tiny"
        ),
        quote! {
            /// Tells short stories with a sparse mixture of experts.
            struct Storyteller {
                /// Experts each token visits: checked against the checkpoint.
                #[param(default = 2)]
                num_active_experts: usize,
                #[param(default = 0.8)]
                temperature: f32,
            }
        },
    );
    expect_file!["../../expansions/storyteller.rs"].assert_eq(&expansion);
    let lines = expansion.lines().count();
    assert!(lines <= 105, "{lines} lines, the struct's own included");
}

#[test]
fn a_checkpoint_that_changed_is_read_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("crate");
    checkpoints::write(&root);
    let mistakes = || {
        let arguments = quote!(arch = moe, model = "checkpoints/tiny");
        let item = quote! {
            struct Storyteller {
                #[param(default = 4)]
                num_active_experts: usize,
            }
        };
        expansion_in(Some(&root), arguments, item).contains("compile_error")
    };
    assert!(!mistakes());
    let config = root.join("checkpoints/tiny/config.json");
    let edited = fs::read_to_string(&config)
        .expect("it was just written")
        .replace("\"num_attention_heads\":2", "\"num_attention_heads\":3");
    fs::write(&config, edited).expect("it can be written again");
    assert!(mistakes());
    checkpoints::write(&root);
    assert!(!mistakes());
}
