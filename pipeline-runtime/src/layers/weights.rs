//! Reads weights by the names that the reference gives them.

use half::{bf16, f16};
use pipeline_schema::DType;
use pipeline_schema::checkpoint::{StoredDtype, TensorInfo};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::checkpoint::{CheckpointFiles, TensorView};
use crate::error::{Error, Result};
use crate::gpu;
use crate::hardware::Device;
use crate::kernels::QuantizedFormat;
use crate::kernels::quantized::quantize;
use crate::tensor::{Matrix, Tensor, WeightNumbers};

/// Tensors below a prefix: `weights.pp("self_attn").matrix("q_proj.weight", ...)`.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    source: Source<'a>,
    prefix: String,
    dtype: Option<DType>,
    quantization: Option<QuantizedFormat>,
    device: Device,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Files(&'a CheckpointFiles),
    Random { seed: u64 },
}

impl<'a> Weights<'a> {
    /// All tensors of a checkpoint. Matrices are kept in `dtype`, or as they are stored.
    pub fn new(files: &'a CheckpointFiles, dtype: Option<DType>) -> Weights<'a> {
        let (prefix, device) = (String::new(), Device::Cpu);
        Weights { source: Source::Files(files), prefix, dtype, quantization: None, device }
    }

    /// Random weights of any name and shape, for benchmarks: vectors of ones, matrices uniform with the variance
    /// `1 / in_features`, so that activations neither vanish nor explode.
    pub fn random(seed: u64, dtype: DType) -> Weights<'static> {
        let source = Source::Random { seed };
        let (prefix, device) = (String::new(), Device::Cpu);
        Weights { source, prefix, dtype: Some(dtype), quantization: None, device }
    }

    /// The same weights, of which linear maps are quantised while they are read: those of attention and of feed-forward
    /// networks, experts among them, in this format, the output layer in `Q8_0` whatever the format, as it decides between
    /// tokens. Embeddings (and the output layer that is one), routers, norms and biases stay as they are, and so do maps
    /// whose rows are no whole blocks; of those that are no whole blocks of `Q4_K`, `Q8_0` is taken where it fits.
    pub fn quantized(self, format: Option<QuantizedFormat>) -> Weights<'a> {
        Weights { quantization: format, ..self }
    }

    /// The format of maps with rows of these lengths; `None` keeps them dense.
    pub fn map_format(&self, in_features: &[usize]) -> Option<QuantizedFormat> {
        self.quantization?.fitting(in_features)
    }

    /// The format of an output layer with rows of this length; `None` keeps it dense.
    pub fn output_format(&self, in_features: usize) -> Option<QuantizedFormat> {
        self.quantization.and(QuantizedFormat::Q80.fitting(&[in_features]))
    }

    /// The same weights, read to this device.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when a GPU has no room for all tensors of the checkpoint, by what can be estimated before they
    /// are read.
    pub fn on(self, device: &Device) -> Result<Weights<'a>> {
        if let Source::Files(files) = self.source {
            let bytes = |(name, tensor): (&str, &TensorInfo)| {
                let StoredDtype::Float(stored) = &tensor.dtype else { return 0 };
                let numbers: u64 = tensor.shape.iter().map(|&length| length as u64).product();
                // Which matrices are maps is known to the models alone; but for the embedding, those that are not are
                // small.
                let format = match tensor.shape[..] {
                    [_, width] if !name.ends_with("embed_tokens.weight") => self.map_format(&[width]),
                    _ => None,
                };
                match format {
                    Some(format) => numbers / format.block() as u64 * format.block_bytes() as u64,
                    None => numbers * self.dtype.unwrap_or(*stored).size() as u64,
                }
            };
            device.check_room(files.facts().tensors().iter().map(bytes).sum())?;
        }
        Ok(Weights { device: device.clone(), ..self })
    }

    /// The GPU that they are read to; `None` is the processor.
    pub fn gpu(&self) -> Option<&gpu::Device> {
        self.device.gpu()
    }

    /// The tensors below `name`.
    pub fn pp(&self, name: impl std::fmt::Display) -> Weights<'a> {
        Weights { prefix: self.name(&name.to_string()), ..self.clone() }
    }

    fn name(&self, name: &str) -> String {
        match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}.{name}"),
        }
    }

    fn view(files: &'a CheckpointFiles, name: &str, shape: &[usize]) -> Result<(TensorView<'a>, DType)> {
        let view = files.tensor(name)?;
        let problem = |message| Err(Error::malformed(files.facts().directory(), message));
        if view.shape != shape {
            return problem(format!("tensor `{name}` has shape {:?}, expected {shape:?}", view.shape));
        }
        match view.dtype {
            StoredDtype::Float(dtype) => Ok((view, *dtype)),
            other => problem(format!("tensor `{name}` is stored in {other}, expected F32, BF16 or F16")),
        }
    }

    /// A weight matrix `(out_features, in_features)`. On the processor it stays in place in the mapped file where the
    /// stored number format is the wanted one, and `f16` is widened to `f32`, which loses nothing: there is no
    /// arithmetic in it.
    ///
    /// # Errors
    /// The tensor is missing, or has another shape or a number format that no weights have; a GPU has no room for it.
    pub fn matrix(&self, name: &str, out_features: usize, in_features: usize) -> Result<Matrix> {
        self.matrix_in(name, out_features, in_features, None)
    }

    /// A weight matrix in the format of [`map_format`](Self::map_format) or [`output_format`](Self::output_format): where
    /// that is none, as [`matrix`](Self::matrix) reads it.
    ///
    /// # Errors
    /// As [`matrix`](Self::matrix).
    pub fn matrix_in(
        &self,
        name: &str,
        out_features: usize,
        in_features: usize,
        format: Option<QuantizedFormat>,
    ) -> Result<Matrix> {
        let matrix = self.part_matrix(name, out_features, in_features, format)?;
        match self.gpu() {
            Some(device) if matrix.device().is_none() => Matrix::stacked_on(device, &[&matrix]),
            _ => Ok(matrix),
        }
    }

    /// A weight matrix to be taken to a device together with others: in the memory of the host, where it comes from a
    /// file, and on the device already, where it is random.
    ///
    /// # Errors
    /// As [`matrix`](Self::matrix).
    pub fn part_matrix(
        &self,
        name: &str,
        out_features: usize,
        in_features: usize,
        format: Option<QuantizedFormat>,
    ) -> Result<Matrix> {
        let name = self.name(name);
        let files = match self.source {
            Source::Files(files) => files,
            Source::Random { seed } => {
                return self.random_matrix(seed, &name, out_features, in_features, format);
            }
        };
        let (view, stored) = Self::view(files, &name, &[out_features, in_features])?;
        if let Some(format) = format {
            // From what is stored: no other rounding comes before that to blocks.
            let slice = files.slice(&name)?;
            let dense = match stored {
                DType::F32 => Matrix::from_f32(WeightNumbers::mapped(slice), out_features, in_features),
                DType::BF16 => Matrix::from_bf16(WeightNumbers::mapped(slice), out_features, in_features),
                DType::F16 => Matrix::from_f16(WeightNumbers::mapped(slice), out_features, in_features),
            };
            return dense.quantized(format, self.dtype.unwrap_or(stored));
        }
        let wanted = match self.dtype.unwrap_or(stored) {
            DType::F16 if self.gpu().is_none() => DType::F32,
            wanted => wanted,
        };
        Ok(match (stored, wanted) {
            (DType::F16, DType::F16) => {
                let numbers = WeightNumbers::mapped(files.slice(&name)?);
                Matrix::from_f16(numbers, out_features, in_features)
            }
            (_, DType::F16) => {
                let rounded: Vec<f16> = widened(&view, stored)?.into_iter().map(f16::from_f32).collect();
                Matrix::from_f16(rounded.into(), out_features, in_features)
            }
            (DType::F32, DType::F32) => {
                let numbers = WeightNumbers::mapped(files.slice(&name)?);
                Matrix::from_f32(numbers, out_features, in_features)
            }
            (DType::BF16, DType::BF16) => {
                let numbers = WeightNumbers::mapped(files.slice(&name)?);
                Matrix::from_bf16(numbers, out_features, in_features)
            }
            (_, DType::BF16) => {
                let rounded: Vec<bf16> = widened(&view, stored)?.into_iter().map(bf16::from_f32).collect();
                Matrix::from_bf16(rounded.into(), out_features, in_features)
            }
            (_, DType::F32) => Matrix::from_f32(widened(&view, stored)?.into(), out_features, in_features),
        })
    }

    /// A vector, widened to `f32`.
    ///
    /// # Errors
    /// As [`matrix`](Self::matrix).
    pub fn vector(&self, name: &str, length: usize) -> Result<Tensor> {
        let vector = Tensor::from_vec(self.host_vector(name, length)?, &[length])?;
        match self.gpu() {
            Some(device) => vector.to_device(device),
            None => Ok(vector),
        }
    }

    /// A vector in the memory of the host.
    ///
    /// # Errors
    /// As [`matrix`](Self::matrix).
    pub fn host_vector(&self, name: &str, length: usize) -> Result<Vec<f32>> {
        match self.source {
            Source::Files(files) => {
                let (view, stored) = Self::view(files, &self.name(name), &[length])?;
                widened(&view, stored)
            }
            Source::Random { .. } => Ok(vec![1.0; length]),
        }
    }

    /// A block of random numbers is drawn once a matrix and repeated: drawing every number of a real model would
    /// take longer than the benchmark, and so would copying them to a device.
    fn random_matrix(
        &self,
        seed: u64,
        name: &str,
        out_features: usize,
        in_features: usize,
        format: Option<QuantizedFormat>,
    ) -> Result<Matrix> {
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&(seed, name), &mut hasher);
        let mut generator = ChaCha8Rng::seed_from_u64(std::hash::Hasher::finish(&hasher));
        let length = out_features * in_features;
        let bound = (3.0 / in_features as f32).sqrt();
        // A prime length keeps rows from repeating, and so does a prime number of blocks.
        let repeated = if format.is_some() { 3907 * 256 } else { 1_000_003 };
        let block: Vec<f32> =
            (0..length.min(repeated)).map(|_| generator.random_range(-bound..bound)).collect();
        if let Some(format) = format {
            let dtype = self.dtype.unwrap_or(DType::F32);
            let count = block.len();
            let blocks = quantize(format, &block)?;
            if let Some(device) = self.gpu() {
                let block = Matrix::from_blocks(format, blocks, dtype, 1, count);
                return Matrix::repeated_on(device, &block, out_features, in_features);
            }
            let blocks = repeat(&blocks, format.bytes(length));
            return Ok(Matrix::from_blocks(format, blocks, dtype, out_features, in_features));
        }
        match (self.dtype, self.gpu()) {
            (Some(DType::BF16), _) => {
                let block = block.into_iter().map(bf16::from_f32).collect();
                self.repeated(block, Matrix::from_bf16, out_features, in_features)
            }
            (Some(DType::F16), Some(_)) => {
                let block = block.into_iter().map(f16::from_f32).collect();
                self.repeated(block, Matrix::from_f16, out_features, in_features)
            }
            _ => self.repeated(block, Matrix::from_f32, out_features, in_features),
        }
    }

    /// The matrix that `make` makes of a block of numbers, repeated.
    fn repeated<T: Copy>(
        &self,
        block: Vec<T>,
        make: fn(WeightNumbers<T>, usize, usize) -> Matrix,
        out_features: usize,
        in_features: usize,
    ) -> Result<Matrix> {
        if let Some(device) = self.gpu() {
            let length = block.len();
            return Matrix::repeated_on(device, &make(block.into(), 1, length), out_features, in_features);
        }
        let numbers = repeat(&block, out_features * in_features);
        Ok(make(numbers.into(), out_features, in_features))
    }
}

/// So many elements, those of `block` again and again.
fn repeat<T: Copy>(block: &[T], length: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(length);
    while all.len() < length {
        all.extend_from_slice(&block[..block.len().min(length - all.len())]);
    }
    all
}

fn widened(view: &TensorView<'_>, stored: DType) -> Result<Vec<f32>> {
    Ok(match stored {
        DType::F32 => view.numbers::<f32>()?.into_owned(),
        DType::BF16 => view.numbers::<bf16>()?.iter().map(|number| number.to_f32()).collect(),
        DType::F16 => view.numbers::<f16>()?.iter().map(|number| number.to_f32()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::faults::StandIn;
    use crate::gpu::testing::download;
    use crate::kernels::MatrixRef;

    #[test]
    fn random_weights_on_a_device_are_those_of_the_processor() {
        let device = Device::Gpu(StandIn::open(32 << 20).0);
        // More than one block, and less.
        for (out_features, in_features) in [(2100, 1000), (3, 7)] {
            for dtype in [DType::F32, DType::BF16] {
                let weights = Weights::random(5, dtype).pp("layers");
                let host = weights.matrix("weight", out_features, in_features).unwrap();
                let matrix =
                    weights.on(&device).unwrap().matrix("weight", out_features, in_features).unwrap();
                let tensor = matrix.on_device().unwrap();
                let length = out_features * in_features;
                let found = download(tensor.device(), tensor.buffer(), length, dtype).unwrap();
                let mut row = vec![0.0; in_features];
                for (index, found) in found.chunks_exact(in_features).enumerate() {
                    host.copy_row(index, &mut row).unwrap();
                    assert_eq!(row, found, "row {index} in {dtype}");
                }
            }
        }
    }

    #[test]
    fn random_blocks_on_a_device_are_those_of_the_processor() {
        let device = Device::Gpu(StandIn::open(32 << 20).0);
        for format in QuantizedFormat::ALL {
            // More than one repeated block, and less.
            for (out_features, in_features) in [(2100, 1024), (3, 256)] {
                let weights = Weights::random(5, DType::BF16).quantized(Some(format));
                let format = weights.map_format(&[in_features]);
                let host = weights.matrix_in("weight", out_features, in_features, format).unwrap();
                let matrix = weights
                    .on(&device)
                    .unwrap()
                    .matrix_in("weight", out_features, in_features, format)
                    .unwrap();
                assert_eq!(packed(&matrix), format.unwrap().pack(&host_blocks(&host)));
                assert_eq!(matrix.size(), format.unwrap().bytes(out_features * in_features));
            }
        }
    }

    #[test]
    fn stacked_blocks_are_packed_as_a_whole() {
        let (device, _) = StandIn::open(1 << 20);
        for format in QuantizedFormat::ALL {
            let weights = Weights::random(1, DType::F32).quantized(Some(format));
            let part = |name: &str, rows| weights.part_matrix(name, rows, 512, Some(format)).unwrap();
            let parts = [part("a", 3), part("b", 1), part("c", 2)];
            let whole = Matrix::stacked_on(&device, &parts.each_ref()).unwrap();
            let blocks: Vec<u8> = parts.iter().flat_map(host_blocks).collect();
            assert_eq!(packed(&whole), format.pack(&blocks));
            // And from parts that are on the device already.
            let parts = parts.each_ref().map(|part| Matrix::stacked_on(&device, &[part]).unwrap());
            assert_eq!(
                packed(&Matrix::stacked_on(&device, &parts.each_ref()).unwrap()),
                format.pack(&blocks)
            );
            let dense = weights.matrix("d", 2, 512).unwrap();
            let error = Matrix::stacked_on(&device, &[&parts[0], &dense]).unwrap_err().to_string();
            assert!(error.contains("one width and format"), "{error}");
        }
    }

    fn packed(matrix: &Matrix) -> Vec<u8> {
        let blocks = matrix.blocks_on_device().unwrap();
        blocks.device().read(blocks.buffer(), 0, matrix.size()).unwrap()
    }

    fn host_blocks(matrix: &Matrix) -> Vec<u8> {
        let MatrixRef::Quantized(weights) = matrix.on_host().unwrap() else { panic!("quantised weights") };
        weights.bytes(0..weights.len()).to_vec()
    }
}
