//! How activations are laid out for products.

use crate::kernels::quantized::{HEIGHT, IntegerDots, quantize_panel, units_of_block};
use crate::kernels::simd::{F32Units, Kernel, Products, Simd, Units, WidenedBf16Units};
use crate::kernels::{InstructionSet, MatrixRef, QuantizedFormat};

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
    /// The first block of each row, quantised to 8 bits, then the second of each row: for quantised weights.
    Blocks,
}

/// What a product multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    F32,
    /// `bf16` weights with `f32` activations.
    WidenedBf16,
    /// `bf16` weights as the instruction set takes them best.
    Bf16,
    /// Quantised weights of a format.
    Blocks(QuantizedFormat, IntegerDots),
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
    /// Elements of a unit, or of a block.
    unit_elements: usize,
    lanes: usize,
}

impl Packing {
    /// The packing for a product of `rows` rows with `weight`.
    pub(crate) fn of(isa: InstructionSet, weight: MatrixRef<'_>, rows: usize) -> Packing {
        let few = rows <= FEW_ROWS;
        let operand = match weight {
            MatrixRef::Quantized(weight) if few => Operand::Blocks(weight.format(), IntegerDots::of(isa)),
            // Blocks of weights become dense: `bf16`, whose rounding is finer than theirs, where it is faster.
            MatrixRef::Quantized(_) if isa.min(InstructionSet::hardware()) == InstructionSet::Avx512Bf16 => {
                Operand::Bf16
            }
            MatrixRef::Quantized(_) => Operand::F32,
            MatrixRef::F32(_) => Operand::F32,
            MatrixRef::Bf16(_) if rows <= EXACT_ROWS => Operand::WidenedBf16,
            MatrixRef::Bf16(_) => Operand::Bf16,
        };
        let order = match operand {
            Operand::Blocks(..) => Order::Blocks,
            _ if few => Order::Vectors,
            _ => Order::Units,
        };
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
            Order::Blocks => width.div_ceil(self.unit_elements) * units_of_block(self.format()) * self.height,
        }
    }

    /// Where columns of a row can begin that are laid out apart from those before them: at a multiple of this.
    pub(crate) fn alignment(self) -> usize {
        match self.order {
            Order::Blocks => self.unit_elements,
            Order::Vectors | Order::Units => 1,
        }
    }

    /// The format of the weights that rows in blocks are for.
    fn format(self) -> QuantizedFormat {
        match self.operand {
            Operand::Blocks(format, _) => format,
            operand => unreachable!("{operand:?} has no blocks"),
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
            Order::Blocks => rows.div_ceil(rows.div_ceil(HEIGHT).max(1)).max(1),
        };
        let unit_elements = match operand {
            Operand::Bf16 => S::Bf16::ELEMENTS,
            Operand::Blocks(format, _) => format.block(),
            Operand::F32 | Operand::WidenedBf16 => 1,
        };
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
            Operand::Blocks(format, _) => {
                assert_eq!(self.target.len(), self.packing.panel_length(self.width));
                assert!(self.sources.len() <= self.packing.height);
                quantize_panel(format, self.sources, self.packing.height, self.target);
            }
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
            Order::Blocks => unreachable!("blocks are not vectors"),
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
