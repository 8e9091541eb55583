//! The choice of the next token. On the processor it is [`Sampler`](crate::text::Sampler); on a GPU kernels do the
//! same, with the same bits, so that a decoding step needs no host.

pub mod gpu;
