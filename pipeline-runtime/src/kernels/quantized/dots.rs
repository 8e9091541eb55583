//! Products of few quantised rows and quantised weights.

use super::{QuantizedFormat, portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::kernels::InstructionSet;

/// Rows that a tile takes at most.
pub(crate) const HEIGHT: usize = 4;

/// How far ahead weights are asked for, in bytes: across the end of a page, where the processor's own prefetching
/// stops.
pub(super) const AHEAD: usize = 2048;

/// Instructions for products of whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntegerDots {
    /// What every target of the compiler has.
    Portable,
    /// AVX2: pairs of products of 8 bits.
    Avx2,
    /// AVX-512 VNNI: four products of 8 bits added to 32.
    Avx512Vnni,
}

impl IntegerDots {
    /// The best that the processor has and that the set admits.
    pub(crate) fn of(isa: InstructionSet) -> IntegerDots {
        #[cfg(target_arch = "x86_64")]
        {
            let isa = isa.min(InstructionSet::hardware());
            let halves = is_x86_feature_detected!("f16c");
            if isa >= InstructionSet::Avx512 && halves && is_x86_feature_detected!("avx512vnni") {
                return IntegerDots::Avx512Vnni;
            } else if isa >= InstructionSet::Avx2 && halves {
                return IntegerDots::Avx2;
            }
        }
        let _ = isa;
        IntegerDots::Portable
    }
}

/// Rows of a panel times neighbouring weight rows.
pub(crate) struct Tile {
    pub(crate) format: QuantizedFormat,
    /// The first of the weight rows, in ggml's layout.
    pub(crate) weight: *const u8,
    /// Weight rows.
    pub(crate) outputs: usize,
    /// Blocks of a row.
    pub(crate) blocks: usize,
    /// The panel, whose rows are as many blocks long.
    pub(crate) panel: *const f32,
    /// Rows that the panel has room for.
    pub(crate) height: usize,
    /// Where the product of the first row and the first weight row goes.
    pub(crate) y: *mut f32,
    /// From a row of results to the next.
    pub(crate) y_stride: usize,
    /// Whether products are added to what is there.
    pub(crate) accumulate: bool,
}

impl Tile {
    /// Multiplies the first `rows` rows of the panel, at most [`HEIGHT`].
    ///
    /// # Safety
    /// Weights and panel are as long as described, and the places of the results are this call's alone.
    pub(crate) unsafe fn multiply(&self, dots: IntegerDots, rows: usize) {
        // SAFETY: the caller vouches for the addresses; `IntegerDots::of` has asked for the instructions, and nothing
        // else makes one but `Portable`, which needs none.
        unsafe {
            match rows {
                1 => self.rows::<1>(dots),
                2 => self.rows::<2>(dots),
                3 => self.rows::<3>(dots),
                4 => self.rows::<4>(dots),
                _ => unreachable!("a panel has at most {HEIGHT} rows, not {rows}"),
            }
        }
    }

    /// # Safety
    /// As [`multiply`](Self::multiply).
    unsafe fn rows<const R: usize>(&self, dots: IntegerDots) {
        // SAFETY: as in `multiply`.
        unsafe {
            match (dots, self.format) {
                #[cfg(target_arch = "x86_64")]
                (IntegerDots::Avx512Vnni, QuantizedFormat::Q4K) => avx512::q4_k::<R>(self),
                #[cfg(target_arch = "x86_64")]
                (IntegerDots::Avx512Vnni, QuantizedFormat::Q80) => avx512::q8_0::<R>(self),
                #[cfg(target_arch = "x86_64")]
                (IntegerDots::Avx2, QuantizedFormat::Q4K) => avx2::q4_k::<R>(self),
                #[cfg(target_arch = "x86_64")]
                (IntegerDots::Avx2, QuantizedFormat::Q80) => avx2::q8_0::<R>(self),
                (_, QuantizedFormat::Q4K) => portable::q4_k::<R>(self),
                (_, QuantizedFormat::Q80) => portable::q8_0::<R>(self),
            }
        }
    }

    /// Writes or adds the product of a row and a weight row.
    ///
    /// # Safety
    /// Both are of the tile.
    #[inline(always)]
    pub(super) unsafe fn put(&self, row: usize, output: usize, sum: f32) {
        // SAFETY: the caller vouches for the place.
        unsafe {
            let y = self.y.add(row * self.y_stride + output);
            *y = if self.accumulate { *y + sum } else { sum };
        }
    }
}
