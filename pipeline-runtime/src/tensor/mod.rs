//! Activations and weights, and the operations that models are written in.
//!
//! A [`Tensor`] holds activations, always in `f32` on the processor; a [`Matrix`] holds the weights of a linear
//! map in the number format of the checkpoint, in place in the mapped file where that is possible, or quantised. Both hide where
//! their numbers are, so that a model is written once. Between host and device nothing moves unasked: `to_device`,
//! `to_host` and `to_vec` do it.

mod blocks;
mod device;
mod matrix;

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, Layout, Storage as CandleStorage, StorageRef};

use crate::error::{Error, Result};
use crate::gpu;
use crate::kernels::activation;
use crate::kernels::matmul::{self, MatmulShape};

pub use blocks::DeviceBlocks;
pub use device::{DeviceTensor, Float};
pub use matrix::{Matrix, WeightNumbers};

/// Numbers with a shape, row-major and contiguous.
#[derive(Clone, Debug)]
pub struct Tensor {
    storage: Storage,
}

/// Where the numbers are.
#[derive(Clone, Debug)]
enum Storage {
    Cpu(candle_core::Tensor),
    Gpu(DeviceTensor),
}

impl From<DeviceTensor> for Tensor {
    fn from(tensor: DeviceTensor) -> Tensor {
        Tensor { storage: Storage::Gpu(tensor) }
    }
}

impl From<candle_core::Tensor> for Tensor {
    fn from(tensor: candle_core::Tensor) -> Tensor {
        Tensor { storage: Storage::Cpu(tensor) }
    }
}

impl Tensor {
    /// A tensor of `shape` that holds `data` in row-major order.
    ///
    /// # Errors
    /// `data` has another number of elements than `shape`.
    pub fn from_vec(data: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        Ok(candle_core::Tensor::from_vec(data, shape, &Device::Cpu)?.into())
    }

    /// The numbers on a GPU, `None` on the processor.
    pub fn on_device(&self) -> Option<&DeviceTensor> {
        match &self.storage {
            Storage::Cpu(_) => None,
            Storage::Gpu(tensor) => Some(tensor),
        }
    }

    /// The numbers on the processor, for operations that are of it alone.
    fn on_host(&self, operation: &'static str) -> Result<&candle_core::Tensor> {
        match &self.storage {
            Storage::Cpu(tensor) => Ok(tensor),
            Storage::Gpu(tensor) => Err(Error::Shape {
                operation,
                expected: "numbers on the processor".to_owned(),
                found: format!("{:?} on {}", tensor.shape(), tensor.device()),
            }),
        }
    }

    /// The same numbers in the memory of a GPU, in `f32`.
    ///
    /// # Errors
    /// There is too little memory.
    pub fn to_device(&self, device: &gpu::Device) -> Result<Tensor> {
        match &self.storage {
            Storage::Gpu(tensor) if tensor.device().is(device) => Ok(self.clone()),
            _ => Ok(DeviceTensor::upload(device, &self.to_vec()?, self.shape())?.into()),
        }
    }

    /// The numbers on a GPU.
    ///
    /// # Errors
    /// They are on the processor.
    pub fn into_device(self) -> Result<DeviceTensor> {
        match self.storage {
            Storage::Gpu(tensor) => Ok(tensor),
            Storage::Cpu(tensor) => Err(Error::Shape {
                operation: "into_device",
                expected: "numbers on a GPU".to_owned(),
                found: format!("{:?} on the processor", tensor.dims()),
            }),
        }
    }

    /// The same numbers in the memory of the processor, in `f32`. Waits for the device.
    ///
    /// # Errors
    /// Work on the device failed.
    pub fn to_host(&self) -> Result<Tensor> {
        match &self.storage {
            Storage::Cpu(_) => Ok(self.clone()),
            Storage::Gpu(tensor) => Tensor::from_vec(tensor.to_vec()?, tensor.shape()),
        }
    }

    /// The size of every dimension.
    pub fn shape(&self) -> &[usize] {
        match &self.storage {
            Storage::Cpu(tensor) => tensor.dims(),
            Storage::Gpu(tensor) => tensor.shape(),
        }
    }

    /// The tensor as a matrix: every dimension but the last together, and the last.
    pub fn rows_and_width(&self) -> (usize, usize) {
        match self.shape() {
            [] => (1, 1),
            [rows @ .., width] => (rows.iter().product(), *width),
        }
    }

    /// The same numbers in another shape.
    ///
    /// # Errors
    /// `shape` has another number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        Ok(match &self.storage {
            Storage::Cpu(tensor) => tensor.reshape(shape)?.into(),
            Storage::Gpu(tensor) => tensor.reshape(shape)?.into(),
        })
    }

    /// The numbers, in row-major order, readable in place.
    ///
    /// # Errors
    /// They are on a GPU.
    pub fn as_slice(&self) -> Result<Slice<'_>> {
        let (storage, layout) = self.on_host("as_slice")?.storage_and_layout();
        Slice::new(storage, layout)
    }

    /// A copy of the numbers, in row-major order. Waits for the device they are on.
    ///
    /// # Errors
    /// Work on the device failed.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        match &self.storage {
            Storage::Cpu(_) => Ok(self.as_slice()?.to_vec()),
            Storage::Gpu(tensor) => tensor.to_vec(),
        }
    }

    /// The elementwise sum.
    ///
    /// # Errors
    /// The shapes differ.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        if self.shape() != other.shape() {
            return Err(Error::Shape {
                operation: "add",
                expected: format!("{:?}", self.shape()),
                found: format!("{:?}", other.shape()),
            });
        }
        // candle's addition has threads of its own, which spin for work beside those of the kernels.
        let (left, right) = (self.as_slice()?, other.as_slice()?);
        let sums = left.iter().zip(right.iter()).map(|(left, right)| left + right).collect();
        Tensor::from_vec(sums, self.shape())
    }

    /// The sum of every row with one row. `(..., width) + (width) -> (..., width)`
    ///
    /// # Errors
    /// `row` is no vector of this width.
    pub fn add_row(&self, row: &Tensor) -> Result<Tensor> {
        let (_, width) = self.rows_and_width();
        if row.shape() != [width] {
            return Err(Error::Shape {
                operation: "add_row",
                expected: format!("a row of {width}"),
                found: format!("{:?}", row.shape()),
            });
        }
        let mut sums = self.to_vec()?;
        let row = row.as_slice()?;
        for sums in sums.chunks_exact_mut(width.max(1)) {
            sums.iter_mut().zip(row.iter()).for_each(|(sum, number)| *sum += number);
        }
        Tensor::from_vec(sums, self.shape())
    }

    /// The gate of a feed-forward network: `silu(self) * up`, elementwise.
    ///
    /// # Errors
    /// The shapes differ.
    pub fn silu_multiply(&self, up: &Tensor) -> Result<Tensor> {
        if self.shape() != up.shape() {
            return Err(Error::Shape {
                operation: "silu_multiply",
                expected: format!("{:?}", self.shape()),
                found: format!("{:?}", up.shape()),
            });
        }
        let mut gate = self.to_vec()?;
        activation::silu_multiply(&mut gate, &up.as_slice()?);
        Tensor::from_vec(gate, self.shape())
    }

    /// The given rows of a matrix, in the given order. `(rows, width) -> (indices.len(), width)`
    ///
    /// # Errors
    /// A row that the tensor does not have.
    pub fn select_rows(&self, indices: &[usize]) -> Result<Tensor> {
        let (rows, width) = self.rows_and_width();
        if let Storage::Gpu(tensor) = &self.storage {
            return Ok(tensor.select_rows(indices)?.into());
        }
        let source = self.as_slice()?;
        let mut selected = Vec::with_capacity(indices.len() * width);
        for &index in indices {
            if index >= rows {
                return Err(Error::Shape {
                    operation: "select_rows",
                    expected: format!("rows below {rows}"),
                    found: format!("row {index}"),
                });
            }
            selected.extend_from_slice(&source[index * width..][..width]);
        }
        Tensor::from_vec(selected, &[indices.len(), width])
    }

    /// Tensors of one width, below each other. `(rows_i, width) -> (sum of rows_i, width)`
    ///
    /// # Errors
    /// The widths differ, or there is no tensor.
    pub fn concatenate_rows(tensors: &[Tensor]) -> Result<Tensor> {
        if let [Tensor { storage: Storage::Gpu(first) }, ..] = tensors {
            return Ok(DeviceTensor::concatenate_rows(first, tensors)?.into());
        }
        let parts =
            tensors.iter().map(|tensor| tensor.on_host("concatenate_rows")).collect::<Result<Vec<_>>>()?;
        Ok(candle_core::Tensor::cat(&parts, 0)?.into())
    }

    /// The product with a transposed weight matrix: `x W^T`. `(..., in_features) -> (..., out_features)`
    ///
    /// # Errors
    /// The last dimension is not `in_features`.
    pub fn matmul(&self, weight: &Matrix) -> Result<Tensor> {
        let (rows, width) = self.rows_and_width();
        if width != weight.in_features() {
            return Err(Error::Shape {
                operation: "matmul",
                expected: format!("{} features", weight.in_features()),
                found: format!("{width}"),
            });
        }
        let out_features = weight.out_features();
        let mut dimensions = self.shape().to_vec();
        if let Some(last) = dimensions.last_mut() {
            *last = out_features;
        }
        let mut result = vec![0.0; rows * out_features];
        let shape = MatmulShape { rows, in_features: width, out_features };
        matmul::matmul(&self.as_slice()?, weight.on_host()?, &mut result, shape);
        Tensor::from_vec(result, &dimensions)
    }
}

/// The numbers of a tensor, readable in place.
pub struct Slice<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Slice<'a> {
    fn new(storage: StorageRef<'a>, layout: &Layout) -> Result<Slice<'a>> {
        let contiguous = layout.contiguous_offsets();
        match (&*storage, contiguous) {
            (CandleStorage::Cpu(CpuStorage::F32(_)), Some((start, end))) => {
                Ok(Slice { range: start..end, storage })
            }
            _ => Err(Error::Shape {
                operation: "as_slice",
                expected: "contiguous f32 numbers on the processor".to_owned(),
                found: format!("{layout:?}"),
            }),
        }
    }
}

impl Deref for Slice<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            CandleStorage::Cpu(CpuStorage::F32(numbers)) => &numbers[self.range.clone()],
            _ => unreachable!("`Slice::new` takes f32 numbers on the processor only"),
        }
    }
}
