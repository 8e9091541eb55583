//! Tells a story.
fn main() {}
