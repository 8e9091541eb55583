//! What the machine can do: the roofs that kernels are measured against.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use super::InstructionSet;
use super::parallel::for_each_block;
use super::simd::{Kernel, Products, Simd, Units, prefetch};

/// `f32` of the buffer that is read: 256 MiB, several times the last cache.
const BUFFER: usize = 1 << 26;

/// `f32` that a thread reads at a time.
const BLOCK: usize = 1 << 18;

/// Sums that are kept apart: more than the latency of two additions a cycle.
const CHAINS: usize = 12;

/// Repeats, of which the median counts.
const REPEATS: usize = 9;

/// What all threads of the current rayon pool reach together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofs {
    /// Memory read in order, 10^9 bytes a second.
    pub dram_read: f64,
    /// `f32` multiplications and additions, 10^9 a second.
    pub f32: f64,
    /// `bf16` multiplications and additions by products of pairs, 10^9 a second; `None` where there are none.
    pub bf16: Option<f64>,
}

impl Roofs {
    /// Probes the machine for about half a second. Whatever else runs on it lowers the result.
    pub fn measure() -> Roofs {
        let probe = RoofProbe::new();
        Roofs {
            dram_read: median(|| probe.dram_read()),
            f32: median(|| probe.f32()),
            bf16: probe.bf16().map(|_| median(|| probe.bf16().unwrap_or_default())),
        }
    }
}

/// Takes single samples of the roofs, a few milliseconds each, to be taken between runs of what is measured.
pub struct RoofProbe {
    isa: InstructionSet,
    buffer: Vec<f32>,
}

impl Default for RoofProbe {
    fn default() -> Self {
        RoofProbe::new()
    }
}

impl RoofProbe {
    /// Allocates and fills 256 MiB.
    pub fn new() -> RoofProbe {
        RoofProbe { isa: InstructionSet::detected(), buffer: vec![1.0; BUFFER] }
    }

    /// Memory read in order, 10^9 bytes a second. Nothing that was in a cache is there afterwards.
    pub fn dram_read(&self) -> f64 {
        let start = Instant::now();
        for_each_block(BUFFER / BLOCK, true, |block| {
            black_box(self.isa.run(Read(&self.buffer[block * BLOCK..(block + 1) * BLOCK])));
        });
        (4 * BUFFER) as f64 / start.elapsed().as_secs_f64() / 1e9
    }

    /// `f32` multiplications and additions, 10^9 a second.
    pub fn f32(&self) -> f64 {
        self.arithmetic(false).expect("every instruction set multiplies f32")
    }

    /// `bf16` multiplications and additions, 10^9 a second; `None` without products of pairs.
    pub fn bf16(&self) -> Option<f64> {
        self.arithmetic(true)
    }

    fn arithmetic(&self, bf16: bool) -> Option<f64> {
        const STEPS: usize = 1 << 16;
        const BLOCKS: usize = 32;
        let operations = self.isa.run(Multiply { bf16, steps: 0 })? * STEPS * BLOCKS;
        let start = Instant::now();
        for_each_block(BLOCKS, true, |_| {
            black_box(self.isa.run(Multiply { bf16, steps: black_box(STEPS) }));
        });
        Some(operations as f64 / start.elapsed().as_secs_f64() / 1e9)
    }
}

impl fmt::Display for Roofs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DRAM read {:.1} GB/s, f32 {:.0} GFLOP/s", self.dram_read, self.f32)?;
        match self.bf16 {
            Some(bf16) => write!(formatter, ", bf16 {bf16:.0} GFLOP/s"),
            None => write!(formatter, ", no bf16 products"),
        }
    }
}

/// The median of some samples, after one that does not count.
fn median(sample: impl Fn() -> f64) -> f64 {
    sample();
    let mut samples: [f64; REPEATS] = std::array::from_fn(|_| sample());
    samples.sort_by(f64::total_cmp);
    samples[REPEATS / 2]
}

/// The sum of a slice, a multiple of 64 elements long.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Products>(self, simd: S) -> f32 {
        let mut sums = [simd.zero(); 4];
        for elements in self.0.chunks_exact(4 * S::LANES) {
            for (sum, vector) in sums.iter_mut().zip(elements.chunks_exact(S::LANES)) {
                // Across the end of the page, where the processor's own prefetching stops.
                prefetch(vector.as_ptr().wrapping_byte_add(4096));
                *sum = simd.add(*sum, simd.load_slice(vector));
            }
        }
        simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
    }
}

/// Independent chains of multiplications and additions; results in the operations of a step.
struct Multiply {
    bf16: bool,
    steps: usize,
}

impl Kernel for Multiply {
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Products>(self, simd: S) -> Option<usize> {
        match self.bf16 {
            false => Some(self.chains::<S, super::simd::F32Units>(simd)),
            true => (S::Bf16::ELEMENTS == 2).then(|| self.chains::<S, S::Bf16>(simd)),
        }
    }
}

impl Multiply {
    #[inline(always)]
    fn chains<S: Simd, U: Units<S>>(self, simd: S) -> usize {
        let factors = (simd.splat(black_box(0.5)), simd.splat(black_box(0.25)));
        let mut sums = [simd.splat(black_box(1.0)); CHAINS];
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = U::multiply_add(simd, factors.0, factors.1, *sum);
            }
        }
        for sum in sums {
            black_box(simd.sum(sum));
        }
        2 * CHAINS * S::LANES * U::ELEMENTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_roof_is_found() {
        let roofs = Roofs::measure();
        assert!(roofs.dram_read > 0.0 && roofs.dram_read.is_finite());
        assert!(roofs.f32 > 0.0 && roofs.f32.is_finite());
        let pairs = InstructionSet::detected() == InstructionSet::Avx512Bf16;
        assert_eq!(roofs.bf16.is_some(), pairs);
        assert_eq!(roofs.to_string().contains("no bf16 products"), !pairs);
    }
}
