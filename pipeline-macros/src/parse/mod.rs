//! First step: tokens become words, paths and literals with their places. Nothing is looked up yet.

pub(crate) mod arguments;
pub(crate) mod item;
mod items;
pub(crate) mod keys;
pub(crate) mod param;
pub(crate) mod value;
pub(crate) mod words;

pub(crate) use arguments::Arguments;
pub(crate) use item::{Declared, DeclaredField};
pub(crate) use param::Param;
pub(crate) use value::{Literal, Word};
