//! Additions, conversions and the gathering of rows. On the processor these are loops where they are needed; a GPU
//! has kernels.

pub mod gpu;
