//! A vector per token: the beginning of the residual stream. On the processor rows are copied where they are needed
//! (`layers::Embedding`); a GPU gathers them in a kernel.

pub mod gpu;
