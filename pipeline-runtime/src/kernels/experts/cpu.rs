//! The layer over groups of tokens.

use std::ops::Range;

use super::groups::{Group, Groups, Row};
use super::{ExpertRouting, ExpertWeights, ExpertsShape};
use crate::kernels::activation::SiluMultiply;
use crate::kernels::matmul::{
    BLOCK_OUTPUTS, FEW_ROWS, FewRows, PackPanel, PackedProduct, Packing, block_outputs, weight_scratch,
};
use crate::kernels::parallel::{PRODUCTS_WORTH_A_FORK, SharedSlice, block_range, for_each_block};
use crate::kernels::scratch::with_scratch;
use crate::kernels::simd::{Kernel, Products};
use crate::kernels::{InstructionSet, MatrixRef};

/// Adds the layer's result to `output`. The caller has checked the shape, which has tokens and slots.
pub(super) fn feed_forward(
    isa: InstructionSet,
    x: &[f32],
    routing: ExpertRouting<'_>,
    experts: &[ExpertWeights<'_>],
    output: &mut [f32],
    shape: ExpertsShape,
) {
    let groups = Groups::new(routing, experts.len(), shape.experts_per_token);
    let fork = groups.rows.len() * shape.hidden * shape.intermediate >= PRODUCTS_WORTH_A_FORK;
    let mut jobs = Vec::with_capacity(groups.groups.len());
    let (mut input_length, mut activated_length) = (0, 0);
    for &group in &groups.groups {
        let weights = experts[group.expert];
        let job = Job {
            group,
            weights,
            input: input_length,
            activated: activated_length,
            packings: (group.count > FEW_ROWS)
                .then(|| [Packing::of(isa, weights.gate), Packing::of(isa, weights.down)]),
        };
        input_length += job.input_length(shape);
        activated_length += job.activated_length(shape);
        jobs.push(job);
    }
    let layer = Layer { isa, x, groups: &groups, shape, fork };
    with_scratch(input_length, |inputs| {
        layer.gather(&jobs, inputs);
        with_scratch(activated_length, |activated| {
            layer.gate_and_up(&jobs, inputs, activated);
            layer.down(&jobs, activated, output);
        });
    });
}

/// What one expert has to do and where its activations are.
struct Job<'a> {
    group: Group,
    weights: ExpertWeights<'a>,
    /// Where its gathered inputs begin.
    input: usize,
    /// Where its activations between gate, up and down begin.
    activated: usize,
    /// How both are laid out: rows as they are if there are few, else packed for gate and up, and for down.
    packings: Option<[Packing; 2]>,
}

impl Job<'_> {
    fn input_length(&self, shape: ExpertsShape) -> usize {
        let rows = self.group.count;
        self.packings.map_or(rows * shape.hidden, |[packing, _]| packing.length(rows, shape.hidden))
    }

    fn activated_length(&self, shape: ExpertsShape) -> usize {
        let rows = self.group.count;
        self.packings
            .map_or(rows * shape.intermediate, |[_, packing]| packing.length(rows, shape.intermediate))
    }

    /// Columns of the intermediate dimension that a thread computes at a time, for both gate and up.
    fn block(&self, shape: ExpertsShape) -> usize {
        self.packings.map_or(block_outputs(shape.hidden).div_ceil(2), |_| BLOCK_OUTPUTS / 2)
    }
}

/// What all steps share.
struct Layer<'a> {
    isa: InstructionSet,
    x: &'a [f32],
    groups: &'a Groups,
    shape: ExpertsShape,
    fork: bool,
}

impl Layer<'_> {
    /// Brings the rows of each expert together, packed if there are many.
    fn gather(&self, jobs: &[Job<'_>], inputs: &mut [f32]) {
        let width = self.shape.hidden;
        let mut panels = Vec::new();
        for job in jobs {
            let height = job.packings.map_or(job.group.count, |[packing, _]| packing.tile_rows);
            panels.extend((0..job.group.count).step_by(height).map(|first| (job, first, height)));
        }
        let inputs = SharedSlice::new(inputs);
        for_each_block(panels.len(), self.fork && panels.len() * width > 1 << 16, |panel| {
            let (job, first, height) = panels[panel];
            let rows = &self.groups.rows_of(job.group)[first..job.group.count.min(first + height)];
            let source = |row: &Row| &self.x[row.token as usize * width..][..width];
            let Some([packing, _]) = job.packings else {
                let start = job.input + first * width;
                // SAFETY: each job has a range of its own and each block rows of its own in it.
                let target = unsafe { inputs.range(start..start + rows.len() * width) };
                for (target, row) in target.chunks_exact_mut(width.max(1)).zip(rows) {
                    target.copy_from_slice(source(row));
                }
                return;
            };
            let length = packing.panel_length(width);
            let start = job.input + first / height * length;
            // SAFETY: each job has a range of its own and each block a panel of its own in it.
            let target = unsafe { inputs.range(start..start + length) };
            let mut sources: [&[f32]; 8] = [&[]; 8];
            for (target, row) in sources.iter_mut().zip(rows) {
                *target = source(row);
            }
            self.isa.run(PackPanel { sources: &sources[..rows.len()], width, packing, target });
        });
    }

    /// silu(gate · x) · (up · x) for every row of every expert, laid out for down.
    fn gate_and_up(&self, jobs: &[Job<'_>], inputs: &[f32], activated: &mut [f32]) {
        let intermediate = self.shape.intermediate;
        let mut blocks = Vec::new();
        for job in jobs {
            let size = job.block(self.shape);
            let count = intermediate.div_ceil(size);
            blocks.extend((0..count).map(|block| (job, block_range(block, size, intermediate))));
        }
        let activated = SharedSlice::new(activated);
        for_each_block(blocks.len(), self.fork, |block| {
            let (job, columns) = &blocks[block];
            let length = job.group.count * columns.len();
            with_scratch(2 * length, |products| {
                let (gate, up) = products.split_at_mut(length);
                let inputs = &inputs[job.input..job.input + job.input_length(self.shape)];
                self.product(job, inputs, job.weights.gate, self.shape.hidden, columns.clone(), gate);
                self.product(job, inputs, job.weights.up, self.shape.hidden, columns.clone(), up);
                self.isa.run(SiluMultiply { gate, up });
                self.lay_out(job, gate, columns.clone(), &activated);
            });
        });
    }

    /// Puts columns of activations, (rows of the job, columns), where down will read them.
    fn lay_out(
        &self,
        job: &Job<'_>,
        values: &[f32],
        columns: Range<usize>,
        activated: &SharedSlice<'_, f32>,
    ) {
        let (rows, width) = (job.group.count, columns.len());
        let Some([_, packing]) = job.packings else {
            for (row, values) in values.chunks_exact(width).enumerate() {
                let start = job.activated + row * self.shape.intermediate + columns.start;
                // SAFETY: each block of `gate_and_up` writes columns of its own.
                unsafe { activated.range(start..start + width) }.copy_from_slice(values);
            }
            return;
        };
        let panel_length = packing.panel_length(self.shape.intermediate);
        for (panel, first) in (0..rows).step_by(packing.tile_rows).enumerate() {
            // Blocks begin at whole units, as their size is even.
            let unit = columns.start / packing.unit_elements * packing.tile_rows;
            let start = job.activated + panel * panel_length + unit;
            // SAFETY: each block of `gate_and_up` writes the units of columns of its own.
            let target = unsafe { activated.range(start..start + packing.panel_length(width)) };
            let mut sources: [&[f32]; 8] = [&[]; 8];
            let count = packing.tile_rows.min(rows - first);
            for (row, source) in sources.iter_mut().enumerate().take(count) {
                *source = &values[(first + row) * width..][..width];
            }
            self.isa.run(PackPanel { sources: &sources[..count], width, packing, target });
        }
    }

    /// output += weight · down(activated), a block of columns at a time for all experts in their order.
    fn down(&self, jobs: &[Job<'_>], activated: &[f32], output: &mut [f32]) {
        let ExpertsShape { hidden, intermediate, .. } = self.shape;
        let packed = jobs.iter().any(|job| job.packings.is_some());
        let size = if packed { BLOCK_OUTPUTS } else { block_outputs(intermediate).min(BLOCK_OUTPUTS) };
        let most_rows = jobs.iter().map(|job| job.group.count).max().unwrap_or(0);
        let output = SharedSlice::new(output);
        for_each_block(hidden.div_ceil(size), self.fork, |block| {
            let columns = block_range(block, size, hidden);
            with_scratch(most_rows * columns.len(), |products| {
                for job in jobs {
                    let products = &mut products[..job.group.count * columns.len()];
                    let activated =
                        &activated[job.activated..job.activated + job.activated_length(self.shape)];
                    self.product(job, activated, job.weights.down, intermediate, columns.clone(), products);
                    for (row, products) in
                        self.groups.rows_of(job.group).iter().zip(products.chunks_exact(columns.len()))
                    {
                        let start = row.token as usize * hidden;
                        // SAFETY: each block writes columns of its own.
                        let sums = unsafe { output.range(start + columns.start..start + columns.end) };
                        self.isa.run(AddScaled { sums, values: products, factor: row.weight });
                    }
                }
            });
        });
    }

    /// y = rows of the job times columns of a weight matrix; y is (rows, columns).
    fn product(
        &self,
        job: &Job<'_>,
        rows: &[f32],
        weight: MatrixRef<'_>,
        in_features: usize,
        columns: Range<usize>,
        y: &mut [f32],
    ) {
        let (count, y_stride) = (job.group.count, columns.len());
        assert_eq!(y.len(), count * y_stride);
        let (y, accumulate, outputs) = (y.as_mut_ptr(), false, columns);
        if job.packings.is_none() {
            self.isa.run(FewRows {
                x: rows,
                rows: count,
                weight,
                in_features,
                outputs,
                y,
                y_stride,
                accumulate,
            });
            return;
        }
        with_scratch(weight_scratch(), |scratch| {
            self.isa.run(PackedProduct {
                activations: rows,
                rows: count,
                weight,
                in_features,
                weight_stride: in_features,
                outputs,
                y,
                y_stride,
                accumulate,
                scratch,
            });
        });
    }
}

/// sums += factor · values; both have one length.
struct AddScaled<'a> {
    sums: &'a mut [f32],
    values: &'a [f32],
    factor: f32,
}

impl Kernel for AddScaled<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        let factor = simd.splat(self.factor);
        for (sums, values) in self.sums.chunks_mut(S::LANES).zip(self.values.chunks(S::LANES)) {
            let total = simd.multiply_add(simd.load_short(values), factor, simd.load_short(sums));
            simd.store_short(sums, total);
        }
    }
}
