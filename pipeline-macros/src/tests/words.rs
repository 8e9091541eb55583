//! Every word of the tables can be looked up in an editor.

use pipeline_schema::{DType, Hardware, arch, task};
use quote::{ToTokens, quote};
use syn::{Item, UseTree};

use crate::model::StageName;
use crate::parse::keys::{PARAM_KEYS, PIPELINE_KEYS, names};
use crate::parse::words::{LISTS, Words};
use crate::words::running_tasks;

/// The names in the module of a list.
fn listed(list: &str) -> Vec<String> {
    let file: syn::File = syn::parse2(crate::words::words()).expect("the modules are Rust");
    let module = file.items.into_iter().find_map(|item| match item {
        Item::Mod(module) if module.ident == list => module.content,
        _ => None,
    });
    let (_, items) = module.unwrap_or_else(|| panic!("there is a module `{list}`"));
    let mut names = Vec::new();
    for item in items {
        match item {
            Item::Struct(item) => {
                let documented = item.attrs.iter().any(|attribute| attribute.path().is_ident("doc"));
                assert!(documented, "`{}` is documented", item.ident);
                names.push(item.ident.to_string());
            }
            Item::Use(item) => renamed(&item.tree, &mut names),
            other => panic!("unexpected item: {}", other.to_token_stream()),
        }
    }
    names.sort();
    names
}

fn renamed(tree: &UseTree, names: &mut Vec<String>) {
    match tree {
        UseTree::Path(path) => renamed(&path.tree, names),
        UseTree::Group(group) => group.items.iter().for_each(|tree| renamed(tree, names)),
        UseTree::Rename(rename) => names.push(rename.rename.to_string()),
        _ => panic!("unexpected import: {}", tree.to_token_stream()),
    }
}

fn sorted<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn every_word_of_the_tables_has_its_item() {
    assert_eq!(listed("keys"), sorted(names(&PIPELINE_KEYS).filter(|key| *key != "crate")));
    assert_eq!(listed("param"), sorted(names(&PARAM_KEYS)));
    assert_eq!(listed("custom"), sorted(StageName::ALL.map(StageName::word)));
    assert_eq!(listed("hardware"), sorted(Hardware::ALL.map(Hardware::name)));
    assert_eq!(listed("dtype"), sorted(DType::ALL.map(DType::name)));
    assert_eq!(listed("arch").len(), arch::running().count());
    assert_eq!(listed("task").len(), running_tasks().len());
    // What an editor completes is right as it is.
    for name in listed("arch") {
        assert!(arch::find(&name).is_some(), "`{name}` is an architecture");
    }
    for name in listed("task") {
        assert!(task::find(&name).is_some(), "`{name}` is a task");
    }
}

#[test]
fn every_key_is_in_the_documentation() {
    let documentation = include_str!("../lib.rs");
    for key in names(&PIPELINE_KEYS).filter(|key| !StageName::ALL.iter().any(|stage| stage.word() == *key)) {
        assert!(documentation.contains(&format!("/// | `{key}")), "{key}");
    }
}

#[test]
fn words_are_found_by_any_name() {
    let params = [quote!(default = 0.8, ra)];
    let words = Words::of(
        quote!(
            arch = sparse,
            task = "text-generation",
            hardware = [nvidia, "amd", cp, gpu],
            dtype = bfloat16,
            custom(format, inf),
            model = "tiny",
            ta
        ),
        params,
    );
    let found: Vec<String> = LISTS
        .iter()
        .zip(words.0)
        .map(|(list, words)| {
            let words = words.unwrap_or_default();
            format!("{list}: {}", quote!(#(#words)*))
        })
        .collect();
    assert_eq!(
        found,
        [
            "keys: arch task hardware dtype custom model ta",
            "arch: moe",
            "task: text_generation",
            "hardware: cuda rocm cp gpu",
            "dtype: bf16",
            "custom: format inf",
            "param: default ra",
        ]
    );
    let none = Words::of(quote!(arch = crate::Moe, task = Vote<u8>, "moe", = 5, hardware = fn), []);
    assert_eq!(
        none.0.map(|words| words.map(|words| words.len())),
        [Some(3), Some(0), Some(0), Some(0), None, None, None]
    );
}

#[test]
fn a_word_names_its_item() {
    let attributes = quote!({ arch = sparse, hardware = [nvidia], task = }{ default = 0.8, ra });
    let expected = quote! {
        use __private::words::{
            keys::{arch as _, hardware as _, task as _},
            arch::{moe as _},
            task::{},
            hardware::{cuda as _},
            param::{default as _, ra as _}
        };
    };
    assert_eq!(crate::words::look_up(attributes).to_string(), expected.to_string());
}
