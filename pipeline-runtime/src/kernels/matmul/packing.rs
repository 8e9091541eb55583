//! How activations are laid out for products.

use crate::kernels::simd::{F32Units, Kernel, Products, Simd, Units, WidenedBf16Units};
use crate::kernels::{InstructionSet, MatrixRef};

/// Products of at most so many rows read weights in place; above, blocks of weights are transposed.
pub(crate) const FEW_ROWS: usize = 16;

/// Products of at most so many rows keep activations in `f32` whatever the weights are.
pub(crate) const EXACT_ROWS: usize = 4;

/// The order of units in a panel of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The first vector of each row, then the second of each row: lanes run along the summed dimension. The last
    /// vectors are filled up with zeros.
    Vectors,
    /// The first unit of each row, then the second of each row: lanes are outputs.
    Units,
}

/// What a product multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    F32,
    /// `bf16` weights with `f32` activations.
    WidenedBf16,
    /// `bf16` weights as the instruction set takes them best.
    Bf16,
}

/// How activations are laid out for a product with weights of a dtype: in panels of `height` rows that follow each
/// other, of units of 32 bits (see [`Units`]). Rows that a last panel lacks are zero or left out of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    /// The order inside a panel.
    pub(crate) order: Order,
    /// Rows of a panel, at most 8.
    pub(crate) height: usize,
    pub(super) operand: Operand,
    unit_elements: usize,
    lanes: usize,
}

impl Packing {
    /// The packing for a product of `rows` rows with `weight`.
    pub(crate) fn of(isa: InstructionSet, weight: MatrixRef<'_>, rows: usize) -> Packing {
        let operand = match weight {
            MatrixRef::F32(_) => Operand::F32,
            MatrixRef::Bf16(_) if rows <= EXACT_ROWS => Operand::WidenedBf16,
            MatrixRef::Bf16(_) => Operand::Bf16,
        };
        let order = if rows <= FEW_ROWS { Order::Vectors } else { Order::Units };
        isa.run(Describe { order, operand, rows })
    }

    /// The packing for a product with lanes of outputs, whatever the rows.
    pub(crate) fn of_units(isa: InstructionSet) -> Packing {
        isa.run(Describe { order: Order::Units, operand: Operand::F32, rows: 0 })
    }

    /// The length of a panel of rows of `width` elements, in units; for a width of whole vectors, also where the
    /// column after it begins.
    pub(crate) fn panel_length(self, width: usize) -> usize {
        match self.order {
            Order::Vectors => width.div_ceil(self.lanes * self.unit_elements) * self.lanes * self.height,
            Order::Units => width.div_ceil(self.unit_elements) * self.height,
        }
    }

    /// The length of `rows` packed rows, in units.
    pub(crate) fn length(self, rows: usize, width: usize) -> usize {
        rows.div_ceil(self.height) * self.panel_length(width)
    }
}

struct Describe {
    order: Order,
    operand: Operand,
    rows: usize,
}

impl Kernel for Describe {
    type Output = Packing;
    #[inline(always)]
    fn run<S: Products>(self, _: S) -> Packing {
        let Describe { order, operand, rows } = self;
        let height = match order {
            Order::Vectors => rows.div_ceil(rows.div_ceil(S::TILE_ROWS).max(1)).max(1),
            Order::Units => S::TILE_ROWS,
        };
        let unit_elements = if operand == Operand::Bf16 { S::Bf16::ELEMENTS } else { 1 };
        Packing { order, height, operand, unit_elements, lanes: S::LANES }
    }
}

/// Lays out one panel, or a run of columns inside one.
pub(crate) struct PackPanel<'a> {
    /// At most `height` rows of `width` elements.
    pub(crate) sources: &'a [&'a [f32]],
    pub(crate) width: usize,
    pub(crate) packing: Packing,
    /// `packing.panel_length(width)` units.
    pub(crate) target: &'a mut [f32],
}

impl Kernel for PackPanel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        match self.packing.operand {
            Operand::F32 => self.pack::<S, F32Units>(simd),
            Operand::WidenedBf16 => self.pack::<S, WidenedBf16Units>(simd),
            Operand::Bf16 => self.pack::<S, S::Bf16>(simd),
        }
    }
}

impl PackPanel<'_> {
    #[inline(always)]
    fn pack<S: Products, U: Units<S>>(self, simd: S) {
        assert_eq!((self.packing.lanes, self.packing.unit_elements), (S::LANES, U::ELEMENTS));
        assert_eq!(self.target.len(), self.packing.panel_length(self.width));
        assert!(self.sources.len() <= self.packing.height);
        assert!(self.sources.iter().all(|source| source.len() == self.width));
        match self.packing.order {
            Order::Vectors => self.pack_vectors::<S, U>(simd),
            Order::Units => self.pack_units::<S, U>(simd),
        }
    }

    #[inline(always)]
    fn pack_vectors<S: Products, U: Units<S>>(self, simd: S) {
        let vectors = self.target.chunks_exact_mut(self.packing.height * S::LANES);
        for (vector, target) in vectors.enumerate() {
            for (target, source) in target.chunks_exact_mut(S::LANES).zip(self.sources) {
                simd.store_slice(target, load::<S, U>(simd, source, vector * S::LANES * U::ELEMENTS));
            }
        }
    }

    #[inline(always)]
    fn pack_units<S: Products, U: Units<S>>(self, simd: S) {
        let height = self.packing.height;
        for (vector, target) in self.target.chunks_mut(height * S::LANES).enumerate() {
            let mut square = [simd.zero(); 16];
            for (row, source) in square.iter_mut().zip(self.sources) {
                *row = load::<S, U>(simd, source, vector * S::LANES * U::ELEMENTS);
            }
            simd.transpose(&mut square);
            for (target, column) in target.chunks_exact_mut(height).zip(square) {
                simd.store_short(target, column);
            }
        }
    }
}

/// A vector of units from element `start` on, which the source has.
#[inline(always)]
fn load<S: Simd, U: Units<S>>(simd: S, source: &[f32], start: usize) -> S::Vector {
    let source = &source[start..];
    let whole = S::LANES * U::ELEMENTS;
    // SAFETY: a whole vector is read only if the source has as many elements left.
    unsafe {
        match source.len() >= whole {
            true => U::load_activations(simd, source.as_ptr()),
            false => U::load_activations_first(simd, source.as_ptr(), source.len()),
        }
    }
}
