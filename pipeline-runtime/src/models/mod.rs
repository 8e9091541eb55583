//! Model families, a file each, top to bottom: configuration, blocks, model.

pub mod mixtral;
