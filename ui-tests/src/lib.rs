//! What the compiler says about declarations.
