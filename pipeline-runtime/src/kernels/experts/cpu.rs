//! The layer over groups of tokens.

use std::ops::Range;

use super::groups::{Group, Groups};
use super::{ExpertRouting, ExpertWeights, ExpertsShape};
use crate::kernels::activation::SiluMultiply;
use crate::kernels::matmul::{
    BLOCK_OUTPUTS, Order, PackPanel, Packing, Product, block_outputs, weight_scratch,
};
use crate::kernels::parallel::{PRODUCTS_WORTH_A_FORK, SharedSlice, block_range, for_each_block, threads};
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
            packing_in: Packing::of(isa, weights.gate, group.count),
            packing_out: Packing::of(isa, weights.down, group.count),
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
    /// How its inputs are laid out, for gate and up.
    packing_in: Packing,
    /// How its activations are laid out, for down.
    packing_out: Packing,
}

impl Job<'_> {
    fn input_length(&self, shape: ExpertsShape) -> usize {
        self.packing_in.length(self.group.count, shape.hidden)
    }

    fn activated_length(&self, shape: ExpertsShape) -> usize {
        self.packing_out.length(self.group.count, shape.intermediate)
    }

    /// Columns of the intermediate dimension that a thread computes at a time, for both gate and up: whole vectors
    /// of whole units, so that blocks are laid out apart.
    fn block(&self, shape: ExpertsShape) -> usize {
        let size = match self.packing_in.order {
            Order::Vectors | Order::Blocks => (block_outputs(shape.hidden) / 2).next_multiple_of(32),
            Order::Units => BLOCK_OUTPUTS / 2,
        };
        size.next_multiple_of(self.packing_out.alignment())
    }
}

/// Packed rows of a job.
#[derive(Clone, Copy)]
struct Rows<'a> {
    units: &'a [f32],
    packing: Packing,
    /// Elements of a row.
    width: usize,
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
    /// Packs the rows of each expert side by side.
    fn gather(&self, jobs: &[Job<'_>], inputs: &mut [f32]) {
        let width = self.shape.hidden;
        let mut panels = Vec::new();
        for job in jobs {
            panels.extend((0..job.group.count).step_by(job.packing_in.height).map(|first| (job, first)));
        }
        let inputs = SharedSlice::new(inputs);
        for_each_block(panels.len(), self.fork && panels.len() * width > 1 << 16, |panel| {
            let (job, first) = panels[panel];
            let packing = job.packing_in;
            let rows = &self.groups.rows_of(job.group)[first..job.group.count.min(first + packing.height)];
            let length = packing.panel_length(width);
            let start = job.input + first / packing.height * length;
            // SAFETY: each job has a range of its own and each block a panel of its own in it.
            let target = unsafe { inputs.range(start..start + length) };
            let mut sources: [&[f32]; 8] = [&[]; 8];
            for (target, row) in sources.iter_mut().zip(rows) {
                *target = &self.x[row.token as usize * width..][..width];
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
                let inputs = Rows { units: inputs, packing: job.packing_in, width: self.shape.hidden };
                let after_gate = Some((job.weights.up, columns.start));
                self.product(job, inputs, job.weights.gate, columns.clone(), after_gate, gate);
                let after_up = blocks
                    .get(block + threads(self.fork))
                    .map(|(job, columns)| (job.weights.gate, columns.start));
                self.product(job, inputs, job.weights.up, columns.clone(), after_up, up);
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
        let packing = job.packing_out;
        let panel_length = packing.panel_length(self.shape.intermediate);
        for (panel, first) in (0..rows).step_by(packing.height).enumerate() {
            let start = job.activated + panel * panel_length + packing.panel_length(columns.start);
            // SAFETY: each block of `gate_and_up` writes columns of its own, which begin at a whole vector.
            let target = unsafe { activated.range(start..start + packing.panel_length(width)) };
            let mut sources: [&[f32]; 8] = [&[]; 8];
            let count = packing.height.min(rows - first);
            for (row, source) in sources.iter_mut().enumerate().take(count) {
                *source = &values[(first + row) * width..][..width];
            }
            self.isa.run(PackPanel { sources: &sources[..count], width, packing, target });
        }
    }

    /// output += weight · down(activated), a block of columns at a time for all experts in their order.
    fn down(&self, jobs: &[Job<'_>], activated: &[f32], output: &mut [f32]) {
        let ExpertsShape { hidden, intermediate, .. } = self.shape;
        let many = jobs.iter().any(|job| job.packing_out.order == Order::Units);
        let size = if many { BLOCK_OUTPUTS } else { block_outputs(intermediate).min(BLOCK_OUTPUTS) };
        let most_rows = jobs.iter().map(|job| job.group.count).max().unwrap_or(0);
        let output = SharedSlice::new(output);
        for_each_block(hidden.div_ceil(size), self.fork, |block| {
            let columns = block_range(block, size, hidden);
            with_scratch(most_rows * columns.len(), |products| {
                for (number, job) in jobs.iter().enumerate() {
                    let products = &mut products[..job.group.count * columns.len()];
                    let activated =
                        &activated[job.activated..job.activated + job.activated_length(self.shape)];
                    let rows = Rows { units: activated, packing: job.packing_out, width: intermediate };
                    let next = match jobs.get(number + 1) {
                        Some(job) => (job.weights.down, columns.start),
                        None => (jobs[0].weights.down, columns.start + size * threads(self.fork)),
                    };
                    self.product(job, rows, job.weights.down, columns.clone(), Some(next), products);
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

    /// y = rows of the job times columns of a weight matrix; y is (rows, columns). `next` is what comes after it.
    fn product(
        &self,
        job: &Job<'_>,
        Rows { units, packing, width }: Rows<'_>,
        weight: MatrixRef<'_>,
        outputs: Range<usize>,
        next: Option<(MatrixRef<'_>, usize)>,
        y: &mut [f32],
    ) {
        let (rows, y_stride) = (job.group.count, outputs.len());
        assert_eq!(y.len(), rows * y_stride);
        with_scratch(weight_scratch(packing, weight, width), |scratch| {
            self.isa.run(Product {
                activations: units,
                packing,
                rows,
                weight,
                in_features: width,
                weight_stride: width,
                outputs,
                y: y.as_mut_ptr(),
                y_stride,
                accumulate: false,
                next,
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
