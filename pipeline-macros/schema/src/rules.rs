//! The rules, a function each.
