//! Crates outside the workspace that depend on `pipelines`, built as their users build them.

#[path = "../checkpoints/mod.rs"]
mod checkpoints;
mod editor;
mod pedantic;
mod rebuilds;
mod renamed;
mod scratch;
