//! Bytes of a file as numbers.

use std::borrow::Cow;

use half::{bf16, f16};
use pipeline_schema::DType;

/// A number that weights are stored in. Files are little-endian.
pub trait Number: Copy + Send + Sync + sealed::Sealed + 'static {
    /// The format.
    const DTYPE: DType;

    /// The bytes as numbers where that takes no copy: on a little-endian machine, when they are aligned for `Self`.
    fn borrow(bytes: &[u8]) -> Option<&[Self]>;

    /// The bytes as numbers: without a copy where [`borrow`](Number::borrow) can, else copied.
    /// Bytes that are left over at the end and make no whole number are left out.
    fn view(bytes: &[u8]) -> Cow<'_, [Self]>;
}

mod sealed {
    /// Only types of which every pattern of bits is a value may be seen in bytes.
    pub trait Sealed {}
}

macro_rules! number {
    ($type:ty, $dtype:expr) => {
        impl sealed::Sealed for $type {}

        impl Number for $type {
            const DTYPE: DType = $dtype;

            fn borrow(bytes: &[u8]) -> Option<&[$type]> {
                if cfg!(target_endian = "big") {
                    return None;
                }
                // SAFETY: every pattern of bits is a value of the type, which has no padding.
                let (before, numbers, _) = unsafe { bytes.align_to::<$type>() };
                // `align_to` may return less than there is, by its contract: then the numbers are copied.
                let whole = numbers.len() == bytes.len() / size_of::<$type>();
                (before.is_empty() && whole).then_some(numbers)
            }

            fn view(bytes: &[u8]) -> Cow<'_, [$type]> {
                match <$type>::borrow(bytes) {
                    Some(numbers) => Cow::Borrowed(numbers),
                    None => {
                        let (numbers, _) = bytes.as_chunks();
                        Cow::Owned(numbers.iter().map(|&bytes| <$type>::from_le_bytes(bytes)).collect())
                    }
                }
            }
        }
    };
}

number!(f32, DType::F32);
number!(bf16, DType::BF16);
number!(f16, DType::F16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_bytes_are_borrowed_and_others_copied() {
        let numbers: Vec<f32> = (0..9).map(|number| number as f32 * 0.5 - 1.0).collect();
        let mut bytes = vec![0_u8; 4 * numbers.len() + 8];
        let aligned = bytes.as_ptr().align_offset(4);
        for offset in 0..4 {
            let place = aligned + offset;
            for (index, number) in numbers.iter().enumerate() {
                bytes[place + 4 * index..][..4].copy_from_slice(&number.to_le_bytes());
            }
            let view = f32::view(&bytes[place..][..4 * numbers.len() + 1]);
            assert_eq!(*view, *numbers);
            let borrowed = matches!(view, Cow::Borrowed(_));
            assert_eq!(borrowed, offset == 0 && cfg!(target_endian = "little"));
        }
    }

    #[test]
    fn short_bytes_are_no_numbers() {
        assert!(f32::view(&[]).is_empty());
        assert!(bf16::view(&[1]).is_empty());
    }

    #[test]
    fn halves_are_read_by_their_formats() {
        assert_eq!(*bf16::view(&[0x80, 0x3f]), [bf16::ONE]);
        assert_eq!(*f16::view(&[0x00, 0x3c]), [f16::ONE]);
    }
}
