//! Which vector instructions the processor has, and running a kernel with them.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Kernel, Portable};

/// A set of vector instructions, each a superset of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstructionSet {
    /// What every target of the compiler has.
    Portable,
    /// AVX2 and FMA: 8 lanes of `f32`.
    Avx2,
    /// AVX-512 F, BW, VL and DQ: 16 lanes of `f32`.
    Avx512,
    /// AVX-512 and its products of `bf16` pairs. With this set only, a product of many rows with `bf16` weights
    /// rounds its activations to `bf16`; sums are kept in `f32` everywhere.
    Avx512Bf16,
}

impl InstructionSet {
    /// Every set, the smallest first.
    pub const ALL: [InstructionSet; 4] =
        [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512, InstructionSet::Avx512Bf16];

    /// The largest set that the processor has, lowered by the environment variable `PIPELINES_CPU`
    /// (`portable`, `avx2`, `avx512` or `avx512bf16`) where it is set. Read once; other values are ignored.
    pub fn detected() -> InstructionSet {
        static DETECTED: OnceLock<InstructionSet> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let hardware = InstructionSet::hardware();
            let wanted = std::env::var("PIPELINES_CPU").ok().and_then(|name| InstructionSet::named(&name));
            wanted.map_or(hardware, |wanted| wanted.min(hardware))
        })
    }

    /// The largest set that the processor has.
    pub fn hardware() -> InstructionSet {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq");
            if avx512 && is_x86_feature_detected!("avx512bf16") {
                return InstructionSet::Avx512Bf16;
            } else if avx512 {
                return InstructionSet::Avx512;
            } else if avx2 {
                return InstructionSet::Avx2;
            }
        }
        InstructionSet::Portable
    }

    /// The sets that the processor has, the smallest first.
    pub fn available() -> impl Iterator<Item = InstructionSet> {
        let hardware = InstructionSet::hardware();
        InstructionSet::ALL.into_iter().filter(move |set| *set <= hardware)
    }

    /// The set of this name, as `PIPELINES_CPU` spells it.
    pub fn named(name: &str) -> Option<InstructionSet> {
        InstructionSet::ALL.into_iter().find(|set| set.name().eq_ignore_ascii_case(name.trim()))
    }

    /// The name, as `PIPELINES_CPU` spells it.
    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Portable => "portable",
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Avx512 => "avx512",
            InstructionSet::Avx512Bf16 => "avx512bf16",
        }
    }

    /// Runs a kernel with this set, or with the largest one that the processor has if it lacks this one.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.min(InstructionSet::hardware()) {
            // SAFETY: the processor has every feature of the set, or `min` would have lowered it.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Bf16 => unsafe { run_avx512_bf16(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { run_avx2(kernel) },
            _ => kernel.run(Portable),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller vouches for the features that this function enables.
    kernel.run(unsafe { Avx2::new() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller vouches for the features that this function enables.
    kernel.run(unsafe { Avx512::<false>::new() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn run_avx512_bf16<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller vouches for the features that this function enables.
    kernel.run(unsafe { Avx512::<true>::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for set in InstructionSet::ALL {
            assert_eq!(InstructionSet::named(set.name()), Some(set));
        }
        assert_eq!(InstructionSet::named(" AVX2 "), Some(InstructionSet::Avx2));
        assert_eq!(InstructionSet::named("sse"), None);
    }

    #[test]
    fn what_is_detected_is_available() {
        assert!(InstructionSet::available().any(|set| set == InstructionSet::detected()));
        assert_eq!(InstructionSet::available().next(), Some(InstructionSet::Portable));
    }

    #[test]
    fn a_set_that_is_missing_is_lowered() {
        struct Lanes;
        impl Kernel for Lanes {
            type Output = usize;
            fn run<S: super::super::simd::Products>(self, _: S) -> usize {
                S::LANES
            }
        }
        let most = InstructionSet::hardware().run(Lanes);
        assert_eq!(InstructionSet::Avx512Bf16.run(Lanes), most);
        assert_eq!(InstructionSet::Portable.run(Lanes), 4);
    }
}
