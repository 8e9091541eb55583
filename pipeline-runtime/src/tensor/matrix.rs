//! The weights of linear maps.

use std::ops::Deref;
use std::sync::Arc;

use half::bf16;

use crate::checkpoint::{MappedSlice, Number};
use crate::kernels::MatrixRef;

/// The numbers of a weight matrix: in place in a mapped file, or in memory. Cheap to clone.
#[derive(Clone, Debug)]
pub enum WeightNumbers<T> {
    /// In the file, whose bytes are aligned for `T`.
    Mapped(MappedSlice),
    /// In memory.
    Owned(Arc<Vec<T>>),
}

impl<T: Number> WeightNumbers<T> {
    /// The numbers of a mapped file, in place where they are aligned, else copied.
    pub fn mapped(slice: MappedSlice) -> WeightNumbers<T> {
        match slice.borrowed::<T>() {
            Some(_) => WeightNumbers::Mapped(slice),
            None => WeightNumbers::from(slice.numbers::<T>().into_owned()),
        }
    }
}

impl<T> From<Vec<T>> for WeightNumbers<T> {
    fn from(numbers: Vec<T>) -> WeightNumbers<T> {
        WeightNumbers::Owned(Arc::new(numbers))
    }
}

impl<T: Number> Deref for WeightNumbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            WeightNumbers::Mapped(slice) => slice.borrowed().expect("only aligned bytes are used in place"),
            WeightNumbers::Owned(numbers) => numbers,
        }
    }
}

/// A weight matrix `(out_features, in_features)`, row-major, in the number format it is computed in.
#[derive(Clone, Debug)]
pub struct Matrix {
    numbers: Numbers,
    out_features: usize,
    in_features: usize,
}

#[derive(Clone, Debug)]
enum Numbers {
    F32(WeightNumbers<f32>),
    Bf16(WeightNumbers<bf16>),
}

impl Matrix {
    /// A matrix of `f32` numbers.
    ///
    /// # Panics
    /// `numbers` does not hold `out_features * in_features` elements.
    pub fn from_f32(numbers: WeightNumbers<f32>, out_features: usize, in_features: usize) -> Matrix {
        assert_eq!(numbers.len(), out_features * in_features, "a matrix is full");
        Matrix { numbers: Numbers::F32(numbers), out_features, in_features }
    }

    /// A matrix of `bf16` numbers.
    ///
    /// # Panics
    /// `numbers` does not hold `out_features * in_features` elements.
    pub fn from_bf16(numbers: WeightNumbers<bf16>, out_features: usize, in_features: usize) -> Matrix {
        assert_eq!(numbers.len(), out_features * in_features, "a matrix is full");
        Matrix { numbers: Numbers::Bf16(numbers), out_features, in_features }
    }

    /// Rows: the features that come out.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns: the features that go in.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Bytes of the weights.
    pub fn size(&self) -> usize {
        match &self.numbers {
            Numbers::F32(numbers) => numbers.len() * 4,
            Numbers::Bf16(numbers) => numbers.len() * 2,
        }
    }

    /// The weights as the kernels take them.
    pub fn as_ref(&self) -> MatrixRef<'_> {
        match &self.numbers {
            Numbers::F32(numbers) => MatrixRef::F32(numbers),
            Numbers::Bf16(numbers) => MatrixRef::Bf16(numbers),
        }
    }

    /// Writes row `index` into `row`, widened to `f32`.
    ///
    /// # Panics
    /// There is no such row, or `row` is not `in_features` long.
    pub fn copy_row(&self, index: usize, row: &mut [f32]) {
        let range = index * self.in_features..(index + 1) * self.in_features;
        match &self.numbers {
            Numbers::F32(numbers) => row.copy_from_slice(&numbers[range]),
            Numbers::Bf16(numbers) => {
                for (widened, number) in row.iter_mut().zip(&numbers[range]) {
                    *widened = number.to_f32();
                }
            }
        }
    }
}
