//! Products of activations and a weight matrix: y = x · Wᵀ.
//!
//! Few rows are bound by reading the weights: each weight row is read once, in the order of the checkpoint, and
//! multiplied with all activation rows while it is in registers (`few_rows`). Many are bound by arithmetic: blocks
//! of weights are laid out for register tiles as they are read, once (`many_rows`).

mod few_rows;
pub mod gpu;
mod many_rows;
mod packing;
mod product;
pub mod quantized;
mod scalar;
#[cfg(test)]
mod tests;
pub(crate) mod tile;

pub(crate) use few_rows::block_outputs;
pub(crate) use many_rows::{BLOCK_OUTPUTS, weight_scratch};
#[cfg(test)]
pub(crate) use packing::EXACT_ROWS;
pub(crate) use packing::{FEW_ROWS, Order, PackPanel, Packing};
pub(crate) use product::Product;
pub use scalar::matmul_scalar;

use super::parallel::{PRODUCTS_WORTH_A_FORK, SharedSlice, block_range, for_each_block, threads};
use super::scratch::with_scratch;
use super::{InstructionSet, MatrixRef};

/// The shape of y = x · Wᵀ: x (rows, in_features), W (out_features, in_features), y (rows, out_features).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatmulShape {
    /// Rows of activations.
    pub rows: usize,
    /// The length of the sums.
    pub in_features: usize,
    /// Rows of the weight matrix.
    pub out_features: usize,
}

/// What happens to a product besides being written.
#[derive(Clone, Copy, Debug, Default)]
pub struct MatmulEpilogue<'a> {
    /// Added to every row: (out_features).
    pub bias: Option<&'a [f32]>,
    /// Whether the result is added to what y holds instead of replacing it.
    pub accumulate: bool,
}

/// y = x · Wᵀ with sums in `f32`.
///
/// x: (rows, in_features); weight: (out_features, in_features); y: (rows, out_features), overwritten. On
/// [`InstructionSet::Avx512Bf16`], `bf16` weights with more than 4 rows take activations rounded to `bf16`. Quantised
/// weights take up to 16 rows of activations that are quantised to 8 bits with a scale for 32 neighbours, and more rows
/// as `bf16` weights there do and as `f32` weights elsewhere.
///
/// ```
/// use pipeline_runtime::kernels::MatrixRef;
/// use pipeline_runtime::kernels::matmul::{MatmulShape, matmul};
///
/// let weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let mut y = [0.0; 2];
/// let shape = MatmulShape { rows: 1, in_features: 3, out_features: 2 };
/// matmul(&[1.0, 0.0, 1.0], MatrixRef::F32(&weight), &mut y, shape);
/// assert_eq!(y, [4.0, 10.0]);
/// ```
///
/// # Panics
/// Where a length does not fit the shape.
pub fn matmul(x: &[f32], weight: MatrixRef<'_>, y: &mut [f32], shape: MatmulShape) {
    matmul_with(InstructionSet::detected(), x, weight, MatmulEpilogue::default(), y, shape);
}

/// y = x · Wᵀ (+ bias) (+ y): [`matmul`] with an instruction set and an epilogue.
///
/// # Panics
/// Where a length does not fit the shape.
pub fn matmul_with(
    isa: InstructionSet,
    x: &[f32],
    weight: MatrixRef<'_>,
    epilogue: MatmulEpilogue<'_>,
    y: &mut [f32],
    shape: MatmulShape,
) {
    shape.check(x, weight, epilogue, y);
    let MatmulShape { rows, in_features, out_features } = shape;
    if y.is_empty() {
        return;
    }
    let fork = (rows * in_features).saturating_mul(out_features) >= PRODUCTS_WORTH_A_FORK;
    let target = Target { y: SharedSlice::new(y), epilogue, shape };
    let packing = Packing::of(isa, weight, rows);
    let size = match packing.order {
        Order::Vectors | Order::Blocks => block_outputs(in_features),
        Order::Units => BLOCK_OUTPUTS,
    };
    with_scratch(packing.length(rows, in_features), |activations| {
        pack(isa, packing, x, shape, fork, activations);
        let activations = &*activations;
        for_each_block(out_features.div_ceil(size), fork, |block| {
            let outputs = block_range(block, size, out_features);
            // Threads take blocks in turn.
            let next = outputs.start + size * threads(fork);
            let (y, accumulate) = target.prepare(outputs.clone());
            with_scratch(weight_scratch(packing, weight, in_features), |scratch| {
                isa.run(Product {
                    activations,
                    packing,
                    rows,
                    weight,
                    in_features,
                    weight_stride: in_features,
                    outputs,
                    y,
                    y_stride: out_features,
                    accumulate,
                    next: Some((weight, next)),
                    scratch,
                });
            });
        });
    });
}

/// Packs all rows of `x`.
fn pack(
    isa: InstructionSet,
    packing: Packing,
    x: &[f32],
    shape: MatmulShape,
    fork: bool,
    activations: &mut [f32],
) {
    let (rows, width) = (shape.rows, shape.in_features);
    let panel_length = packing.panel_length(width);
    let activations = SharedSlice::new(activations);
    let fork = fork && packing.order == Order::Units;
    for_each_block(rows.div_ceil(packing.height), fork, |panel| {
        let first = panel * packing.height;
        let count = packing.height.min(rows - first);
        // SAFETY: each block writes the panel of its own number.
        let target = unsafe { activations.range(panel * panel_length..(panel + 1) * panel_length) };
        let mut sources: [&[f32]; 8] = [&[]; 8];
        for (row, source) in sources.iter_mut().enumerate().take(count) {
            *source = &x[(first + row) * width..][..width];
        }
        isa.run(PackPanel { sources: &sources[..count], width, packing, target });
    });
}

/// Where products go.
struct Target<'a> {
    y: SharedSlice<'a, f32>,
    epilogue: MatmulEpilogue<'a>,
    shape: MatmulShape,
}

impl Target<'_> {
    /// Writes or adds the bias to the columns `outputs`; returns the address of the first of them and whether the
    /// products are to be added to what is there.
    fn prepare(&self, outputs: std::ops::Range<usize>) -> (*mut f32, bool) {
        let address = self.y.at(outputs.start);
        let Some(bias) = self.epilogue.bias else { return (address, self.epilogue.accumulate) };
        for row in 0..self.shape.rows {
            let start = row * self.shape.out_features;
            // SAFETY: each block of the product is given columns of its own.
            let y = unsafe { self.y.range(start + outputs.start..start + outputs.end) };
            for (y, bias) in y.iter_mut().zip(&bias[outputs.clone()]) {
                *y = if self.epilogue.accumulate { *y + bias } else { *bias };
            }
        }
        (address, true)
    }
}

impl MatmulShape {
    /// Panics unless the lengths fit.
    fn check(self, x: &[f32], weight: MatrixRef<'_>, epilogue: MatmulEpilogue<'_>, y: &[f32]) {
        let MatmulShape { rows, in_features, out_features } = self;
        // A product that wrapped around could agree with a length and let a thread write beyond it.
        let fits = |length: usize, height: usize, width: usize| height.checked_mul(width) == Some(length);
        assert!(fits(x.len(), rows, in_features), "matmul: x is (rows, in_features) of {self:?}");
        assert!(fits(weight.len(), out_features, in_features), "matmul: weight of {self:?}");
        assert!(fits(y.len(), rows, out_features), "matmul: y is (rows, out_features) of {self:?}");
        weight.check_rows(in_features);
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), out_features, "matmul: bias is (out_features) of {self:?}");
        }
    }
}
