//! Hand-written kernels, a family a folder, each beside its scalar twin.
//!
//! Activations are `f32`, row-major and contiguous. Weights are `f32`, `bf16` or quantised, borrowed as they lie in the
//! checkpoint or in ggml's blocks: no packing ahead of time, no alignment beyond the element's own. Lengths that do not fit a shape are
//! a defect of the caller and panic; values never do.
//!
//! Every kernel has a twin whose name ends in `_with` and that takes the [`InstructionSet`] to use, and a plain
//! scalar twin whose name ends in `_scalar` and that tests compare with. Results do not depend on the number of
//! threads, bit for bit; they do depend on the instruction set.

pub mod activation;
pub mod attention;
pub mod check;
mod cpu_checks;
pub mod elementwise;
pub mod embedding;
pub mod experts;
mod instruction_set;
mod launching;
pub mod matmul;
pub mod norm;
mod parallel;
pub mod quantized;
pub mod roof;
pub mod rotary;
pub mod router;
pub mod sampling;
mod scratch;
mod simd;
pub mod softmax;
#[cfg(test)]
mod testing;

use half::bf16;

pub use instruction_set::InstructionSet;
pub use quantized::{QuantizedFormat, QuantizedRef};

use crate::gpu::Source;

/// A weight matrix of shape (out_features, in_features), row-major and contiguous, in the dtype of the checkpoint.
#[derive(Clone, Copy, Debug)]
pub enum MatrixRef<'a> {
    /// Elements of 32 bits.
    F32(&'a [f32]),
    /// Elements of 16 bits: the upper half of an `f32`.
    Bf16(&'a [bf16]),
    /// Blocks of few bits; rows are whole blocks.
    Quantized(QuantizedRef<'a>),
}

impl MatrixRef<'_> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            MatrixRef::F32(elements) => elements.len(),
            MatrixRef::Bf16(elements) => elements.len(),
            MatrixRef::Quantized(weights) => weights.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics unless rows of so many elements are whole blocks.
    pub(crate) fn check_rows(&self, width: usize) {
        if let MatrixRef::Quantized(weights) = self {
            let format = weights.format();
            assert!(width.is_multiple_of(format.block()), "rows of {width} are no whole blocks of {format}");
        }
    }

    /// The address of the element at `index`, which may be beyond the last; none of an element of a block.
    pub(crate) fn address(&self, index: usize) -> *const u8 {
        match self {
            MatrixRef::Quantized(_) => std::ptr::null(),
            MatrixRef::F32(elements) => elements.as_ptr().wrapping_add(index).cast(),
            MatrixRef::Bf16(elements) => elements.as_ptr().wrapping_add(index).cast(),
        }
    }

    /// The element at `index` as `f64`, for scalar twins.
    pub(crate) fn get(&self, index: usize) -> f64 {
        match self {
            MatrixRef::F32(elements) => f64::from(elements[index]),
            MatrixRef::Bf16(elements) => elements[index].to_f64(),
            MatrixRef::Quantized(weights) => f64::from(weights.get(index)),
        }
    }
}

impl<'a> From<&'a [f32]> for MatrixRef<'a> {
    fn from(elements: &'a [f32]) -> Self {
        MatrixRef::F32(elements)
    }
}

impl<'a> From<&'a [bf16]> for MatrixRef<'a> {
    fn from(elements: &'a [bf16]) -> Self {
        MatrixRef::Bf16(elements)
    }
}

/// Every source of kernels for GPUs, to be compiled for chips that are not there.
pub fn sources() -> &'static [&'static Source] {
    static SOURCES: [&Source; 15] = [
        &activation::gpu::SOURCE,
        &attention::gpu::APPEND,
        &attention::gpu::DECODE,
        &attention::gpu::PREFILL,
        &elementwise::gpu::SOURCE,
        &embedding::gpu::SOURCE,
        &experts::gpu::SOURCE,
        &experts::gpu::WIDE,
        &experts::quantized::SOURCE,
        &matmul::gpu::SOURCE,
        &matmul::quantized::SOURCE,
        &norm::gpu::SOURCE,
        &router::gpu::SOURCE,
        &sampling::gpu::SOURCE,
        &softmax::gpu::SOURCE,
    ];
    &SOURCES
}
