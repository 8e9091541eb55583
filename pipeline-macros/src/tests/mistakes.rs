//! Mistakes are found together, each once. Where they are marked is tested in `ui-tests`.

use quote::quote;

use super::mistakes;

#[test]
fn all_mistakes_are_reported_at_once() {
    let found = mistakes(
        quote!(arch = "moee", task = "text-generatoin", hardware = [cuad, metal, cpu], dtpye = "bf16"),
        quote! {
            struct Storyteller {
                #[param(default = -1.0)]
                temprature: f32,
                #[param]
                top_k: usize,
                #[param(default = 3, range = 5..=9)]
                num_active_experts: usize,
            }
        },
    );
    assert_eq!(
        found,
        [
            "unknown key `dtpye`; did you mean `dtype`?",
            "unknown architecture `moee`; did you mean `moe`?",
            "unknown task `text-generatoin`; did you mean `text-generation`?",
            "unknown hardware `cuad`; did you mean `cuda`?",
            "hardware `metal` is not supported; expected one of `cpu`, `cuda`, `rocm`",
            "`top_k` has no default; write `#[param(default = 50)]`, or `Option<usize>` for a parameter that may \
             stay unset",
            "`num_active_experts` is 3, but its range is declared to be from 5 to 9",
            "unknown parameter `temprature`; did you mean `temperature`?",
        ],
    );
}

#[test]
fn a_mistake_in_the_syntax_of_one_value_hides_no_other() {
    let found = mistakes(
        quote!(arch = , hardware = [gpu9000], task = text generation),
        quote!(
            struct Storyteller;
        ),
    );
    assert_eq!(
        found,
        [
            "`arch` needs a value; write `arch = \"moe\"`",
            "this is not a value; write `task = \"text-generation\"`",
            "unknown hardware `gpu9000`; expected one of `cpu`, `cuda`, `rocm`",
        ],
    );
}

#[test]
fn nothing_depends_on_an_architecture_that_is_not_known() {
    let item = quote! {
        struct Storyteller {
            #[param(default = 50)]
            num_inference_steps: usize,
        }
    };
    let found = mistakes(quote!(arch = "stable diffusion"), item.clone());
    assert_eq!(
        found,
        [
            "unknown architecture `stable diffusion`; expected one of `moe`, `text`, or the path of a type of your own"
        ],
    );
    let found = mistakes(quote!(), item);
    assert_eq!(
        found,
        ["`Storyteller` declares no architecture; write `#[pipeline(arch = \"moe\", hardware = [cpu])]`"],
    );
}

#[test]
fn a_wrong_type_and_a_default_of_that_type_are_one_mistake() {
    let found = mistakes(
        quote!(arch = moe),
        quote! {
            struct Storyteller {
                #[param(default = "hot")]
                temperature: String,
            }
        },
    );
    assert_eq!(found, ["`temperature` cannot be set from `String`; expected one of `f32`, `f64`"]);
}

#[test]
fn an_own_architecture_brings_its_own_parameters() {
    let item = quote! {
        struct Classifier {
            #[param(default = Pooling::Mean)]
            pooling: Pooling,
        }
    };
    let none: [&str; 0] = [];
    assert_eq!(mistakes(quote!(arch = crate::Bags, task = crate::Classify), item.clone()), none);
    assert_eq!(mistakes(quote!(arch = Bags<f32>, task = "feature-extraction"), item.clone()), none);
    assert_eq!(
        mistakes(quote!(arch = crate::Bags, hardware = [cpu, cpu]), item),
        [
            "an architecture of your own has no default task; write `task = \"text-generation\"`, or the path of a \
             task of your own",
            "hardware `cpu` is named twice",
        ],
    );
}

#[test]
fn an_item_that_is_no_struct_is_emitted_as_written() {
    let code = crate::attribute::pipeline(
        quote!(arch = moe),
        quote! {
            enum Kind {
                One {
                    #[param(default = 1)]
                    temperature: f32,
                },
            }
        },
        None,
    )
    .to_string();
    assert!(code.contains("enum Kind"), "{code}");
    assert!(!code.contains("# [param"), "{code}");
    assert!(code.contains("`#[pipeline]` declares a struct, but this is an enum"), "{code}");
}
