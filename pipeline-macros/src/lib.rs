//! The `#[pipeline]` attribute.
