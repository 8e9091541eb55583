//! Element-wise activations: SiLU, and SiLU times a second operand as in SwiGLU.

mod cpu;
pub mod gpu;
mod scalar;
#[cfg(test)]
mod tests;

pub(crate) use cpu::SiluMultiply;
pub(crate) use scalar::silu as silu_f64;
pub use scalar::{silu_multiply_scalar, silu_scalar};

use super::InstructionSet;
use super::parallel::{ELEMENTS_WORTH_A_FORK, SharedSlice, block_range, for_each_block};

/// Elements that a thread takes at a time.
const BLOCK: usize = 1 << 14;

/// x = x / (1 + e^-x) for every element, in place.
pub fn silu(x: &mut [f32]) {
    silu_with(InstructionSet::detected(), x);
}

/// [`silu`] with an instruction set.
pub fn silu_with(isa: InstructionSet, x: &mut [f32]) {
    let length = x.len();
    let x = SharedSlice::new(x);
    for_each_block(length.div_ceil(BLOCK), length >= ELEMENTS_WORTH_A_FORK, |block| {
        // SAFETY: each block takes elements of its own.
        let x = unsafe { x.range(block_range(block, BLOCK, length)) };
        isa.run(cpu::Silu { x });
    });
}

/// gate = silu(gate) · up for every element, in place: the activation of SwiGLU.
///
/// # Panics
/// Where the lengths differ.
pub fn silu_multiply(gate: &mut [f32], up: &[f32]) {
    silu_multiply_with(InstructionSet::detected(), gate, up);
}

/// [`silu_multiply`] with an instruction set.
///
/// # Panics
/// Where the lengths differ.
pub fn silu_multiply_with(isa: InstructionSet, gate: &mut [f32], up: &[f32]) {
    let length = gate.len();
    assert_eq!(length, up.len(), "silu_multiply: gate and up have one length");
    let gate = SharedSlice::new(gate);
    for_each_block(length.div_ceil(BLOCK), length >= ELEMENTS_WORTH_A_FORK, |block| {
        let range = block_range(block, BLOCK, length);
        // SAFETY: each block takes elements of its own.
        let gate = unsafe { gate.range(range.clone()) };
        isa.run(SiluMultiply { gate, up: &up[range] });
    });
}
