//! Sampling on a GPU.
