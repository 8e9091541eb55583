//! Four lanes in an array, which compilers turn into vector instructions of any target.

use half::bf16;

use super::Simd;

/// Needs nothing of the processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Four lanes.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(crate) struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn zip(self, other: Four, operation: impl Fn(f32, f32) -> f32) -> Four {
        Four(std::array::from_fn(|lane| operation(self.0[lane], other.0[lane])))
    }

    #[inline(always)]
    fn map(self, operation: impl Fn(f32) -> f32) -> Four {
        Four(self.0.map(operation))
    }
}

impl Simd for Portable {
    type Vector = Four;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> Four {
        Four([value; 4])
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Four {
        // SAFETY: the caller vouches for four elements; an array of `f32` has their alignment.
        Four(unsafe { from.cast::<[f32; 4]>().read() })
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> Four {
        // SAFETY: the caller vouches for the elements before `count`.
        Four(std::array::from_fn(|lane| if lane < count { unsafe { from.add(lane).read() } } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> Four {
        // SAFETY: the caller vouches for four elements.
        unsafe { self.load_bf16_first(from, 4) }
    }
    #[inline(always)]
    unsafe fn load_bf16_first(self, from: *const bf16, count: usize) -> Four {
        Four(std::array::from_fn(|lane| {
            // SAFETY: the caller vouches for the elements before `count`.
            let bits = if lane < count { unsafe { from.add(lane).read() }.to_bits() } else { 0 };
            f32::from_bits(u32::from(bits) << 16)
        }))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: Four) {
        // SAFETY: the caller vouches for four elements.
        unsafe { to.cast::<[f32; 4]>().write(vector.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, vector: Four, count: usize) {
        for (lane, value) in vector.0.into_iter().enumerate().take(count) {
            // SAFETY: the caller vouches for the elements before `count`.
            unsafe { to.add(lane).write(value) }
        }
    }
    #[inline(always)]
    fn add(self, a: Four, b: Four) -> Four {
        a.zip(b, |a, b| a + b)
    }
    #[inline(always)]
    fn subtract(self, a: Four, b: Four) -> Four {
        a.zip(b, |a, b| a - b)
    }
    #[inline(always)]
    fn multiply(self, a: Four, b: Four) -> Four {
        a.zip(b, |a, b| a * b)
    }
    #[inline(always)]
    fn divide(self, a: Four, b: Four) -> Four {
        a.zip(b, |a, b| a / b)
    }
    #[inline(always)]
    fn multiply_add(self, a: Four, b: Four, c: Four) -> Four {
        self.add(self.multiply(a, b), c)
    }
    #[inline(always)]
    fn minimum(self, a: Four, b: Four) -> Four {
        a.zip(b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn maximum(self, a: Four, b: Four) -> Four {
        a.zip(b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn round(self, a: Four) -> Four {
        // Where the unit in the last place is one, adding rounds to an integer; `f32::round_ties_even` would be a
        // call on targets without the instruction.
        const UNITS: f32 = 1.5 * (1u32 << 23) as f32;
        a.map(|a| (a + UNITS) - UNITS)
    }
    #[inline(always)]
    fn power_of_two(self, a: Four) -> Four {
        a.map(|a| f32::from_bits(((a as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn select_less(self, a: Four, b: Four, then: Four, otherwise: Four) -> Four {
        Four(std::array::from_fn(|lane| if a.0[lane] < b.0[lane] { then.0[lane] } else { otherwise.0[lane] }))
    }
    #[inline(always)]
    fn sum(self, a: Four) -> f32 {
        (a.0[0] + a.0[2]) + (a.0[1] + a.0[3])
    }
    #[inline(always)]
    fn sums(self, vectors: [Four; 4]) -> [f32; 4] {
        vectors.map(|vector| self.sum(vector))
    }
    #[inline(always)]
    fn largest(self, a: Four) -> f32 {
        a.0[0].max(a.0[1]).max(a.0[2].max(a.0[3]))
    }
    #[inline(always)]
    fn transpose(self, rows: &mut [Four; 16]) {
        let [a, b, c, d] = [rows[0].0, rows[1].0, rows[2].0, rows[3].0];
        for lane in 0..4 {
            rows[lane] = Four([a[lane], b[lane], c[lane], d[lane]]);
        }
    }
}
