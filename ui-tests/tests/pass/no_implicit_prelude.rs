#![no_implicit_prelude]

// Names that generated code must not take for its own.
#[allow(dead_code, non_camel_case_types)]
mod names {
    pub struct Vec;
    pub struct String;
    pub struct Option;
    pub struct Some;
    pub struct None;
    pub struct Ok;
    pub struct Result;
    pub struct Default;
    pub struct Into;
    pub struct str;
    pub struct Self_;
}

#[allow(unused_imports)]
use names::*;

#[::pipelines::pipeline(arch = moe, hardware = [cuda, cpu], dtype = bf16)]
struct Storyteller {
    #[param(default = 0.8, range = 0.1..=1.5)]
    temperature: ::core::primitive::f32,
    #[param(default = ["The end"])]
    stop: ::std::vec::Vec<::std::string::String>,
    #[param]
    seed: ::core::option::Option<u64>,
    own: ::core::primitive::u8,
}

fn main() {
    let teller = <Storyteller as ::pipelines::Declared>::declared();
    let _ = (teller.temperature, teller.stop, teller.seed, teller.own);
}
