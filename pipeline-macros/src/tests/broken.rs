//! Declarations as they are while somebody types: whatever the tokens are, the struct is there and nothing panics.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::quote;

use crate::attribute::{guarded, pipeline};
use crate::parse::item::without_params;

fn arguments() -> TokenStream {
    quote!(
        arch = moe,
        task = "text-generation",
        hardware = [cuda, rocm, cpu],
        model = "checkpoints/tiny",
        dtype = bf16,
        route = self::route,
        custom(infer, format),
        crate = crate::pipelines,
        generator = Storyteller<u8>,
    )
}

fn item() -> TokenStream {
    quote! {
        #[derive(Clone)]
        #[doc = "Tells stories."]
        pub struct Storyteller<'a, T: Clone = u8>
        where
            T: Copy,
        {
            #[doc = "How wild."]
            #[param(default = 0.8, range = 0.1..=1.5)]
            pub temperature: f32,
            #[param]
            seed: Option<u64>,
            #[cfg(feature = "stop")]
            #[param(default = ["\n", "END"])]
            stop: Vec<String>,
            own: &'a [T],
        }
    }
}

/// Every way to leave a token out or to end before one, at any depth, and to put a stray one in.
fn broken(tokens: &TokenStream) -> Vec<TokenStream> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut all = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let (before, after) = (&tokens[..index], &tokens[index + 1..]);
        let with = |between: TokenStream| -> TokenStream {
            before.iter().cloned().chain(between).chain(after.iter().cloned()).collect()
        };
        all.push(before.iter().cloned().collect());
        all.push(with(TokenStream::new()));
        for stray in [quote!(,), quote!(=), quote!(ar), quote!([]), quote!(1.5), quote!(<)] {
            all.push(with(quote!(#stray #token)));
        }
        if let TokenTree::Group(group) = token {
            let inside = |stream| TokenTree::from(Group::new(group.delimiter(), stream)).into();
            all.extend(broken(&group.stream()).into_iter().map(|stream| with(inside(stream))));
        }
    }
    all
}

/// The expansion as text and as tokens.
fn expanded(arguments: TokenStream, item: TokenStream) -> (String, TokenStream) {
    let tokens = pipeline(arguments.clone(), item.clone(), None);
    let text = tokens.to_string();
    assert!(!text.contains("panicked"), "#[pipeline({arguments})] {item}\n{text}");
    assert!(!text.contains("# [param"), "#[pipeline({arguments})] {item}\n{text}");
    (text, tokens)
}

#[test]
fn no_argument_makes_the_struct_vanish() {
    let written = without_params(item(), &mut Vec::new()).to_string();
    let all = broken(&arguments());
    assert!(all.len() > 400, "{}", all.len());
    for arguments in all {
        let (text, _) = expanded(arguments.clone(), item());
        assert!(text.starts_with(&written), "#[pipeline({arguments})]\n{text}");
        let implemented = "__private :: Declaration for Storyteller < 'a , T >";
        assert!(text.contains(implemented), "#[pipeline({arguments})]\n{text}");
    }
}

/// Every identifier, at any depth.
fn names(tokens: TokenStream, names: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => names.push(name.to_string()),
            TokenTree::Group(group) => self::names(group.stream(), names),
            _ => {}
        }
    }
}

#[test]
fn no_token_makes_the_struct_vanish() {
    let valid = quote!(arch = moe, hardware = [cpu]);
    let all = broken(&item());
    assert!(all.len() > 600, "{}", all.len());
    let mut unreadable = 0;
    for item in all {
        let (text, tokens) = expanded(valid.clone(), item.clone());
        let mut written = Vec::new();
        names(without_params(item.clone(), &mut Vec::new()), &mut written);
        let mut emitted = Vec::new();
        names(tokens, &mut emitted);
        assert!(emitted.starts_with(&written), "{item}\n{text}");
        unreadable += usize::from(text.contains("compile_error"));
    }
    assert!(unreadable > 300, "{unreadable}");
}

#[test]
fn fields_that_cannot_be_read_leave_a_pipeline() {
    for fields in
        [quote!(temperature), quote!(temperature: , seed: u64), quote!(#[param(default = 1)] 5: usize)]
    {
        let (text, _) = expanded(quote!(arch = moe, route = route), quote!(struct Storyteller { #fields }));
        for part in ["Declaration for Storyteller", "Route for Storyteller", "compile_error"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn a_panic_leaves_the_struct_and_is_called_a_bug() {
    let item = quote!(
        struct Storyteller {
            #[param(default = 1)]
            seed: u64,
        }
    );
    let text = guarded(item, |_| panic!("index out of bounds")).to_string();
    assert!(text.starts_with("struct Storyteller { seed : u64 , }"), "{text}");
    assert!(text.contains("`#[pipeline]` panicked: index out of bounds"), "{text}");
    assert!(text.contains("this is a bug in `pipelines`, not in your code"), "{text}");
}
