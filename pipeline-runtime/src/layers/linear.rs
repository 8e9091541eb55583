//! Linear maps and embeddings.

use pipeline_schema::DType;

use crate::error::{Error, Result};
use crate::gpu::{Buffer, Device, ProductShape};
use crate::kernels::activation;
use crate::kernels::elementwise::gpu::add_bias;
use crate::kernels::embedding::gpu::{EmbeddingShape, embedding};
use crate::kernels::matmul::MatmulShape;
use crate::kernels::matmul::gpu::{Epilogue, FEW_ROWS, FewRows, Input, few_rows, takes_norm};
use crate::kernels::matmul::quantized::{QuantizedFewRows, fits_shared, quantized_few_rows};
use crate::layers::{RmsNorm, Weights};
use crate::tensor::{DeviceTensor, Matrix, Tensor};

/// `y = x W^T + b`, or without `b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Matrix,
    bias: Option<Tensor>,
}

impl Linear {
    /// Reads `weight` `(out_features, in_features)`, in the format that the weights have for maps.
    ///
    /// # Errors
    /// The weight is missing or has another shape.
    pub fn load(weights: &Weights<'_>, in_features: usize, out_features: usize) -> Result<Linear> {
        Linear::load_with(weights, in_features, out_features, false)
    }

    /// Reads `weight` `(out_features, in_features)` and, where there is one, `bias` `(out_features)`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load_with(
        weights: &Weights<'_>,
        in_features: usize,
        out_features: usize,
        bias: bool,
    ) -> Result<Linear> {
        Ok(Linear {
            weight: weights.matrix_in(
                "weight",
                out_features,
                in_features,
                weights.map_format(&[in_features]),
            )?,
            bias: bias.then(|| weights.vector("bias", out_features)).transpose()?,
        })
    }

    /// Reads `weight` `(out_features, in_features)` of an output layer, which is quantised less than other maps.
    ///
    /// # Errors
    /// The weight is missing or has another shape.
    pub fn load_output(weights: &Weights<'_>, in_features: usize, out_features: usize) -> Result<Linear> {
        let format = weights.output_format(in_features);
        Ok(Linear::new(weights.matrix_in("weight", out_features, in_features, format)?))
    }

    /// The map with these weights and no bias.
    pub fn new(weight: Matrix) -> Linear {
        Linear { weight, bias: None }
    }

    /// Maps of one input stacked: their outputs stand beside each other. On a GPU one product does for all of them.
    ///
    /// # Errors
    /// A tensor is missing or has another shape, or the weights are read to the processor.
    pub fn load_stacked(parts: &[(Weights<'_>, usize)], in_features: usize, bias: bool) -> Result<Linear> {
        let Some(device) = parts.first().and_then(|(weights, _)| weights.gpu()) else {
            return Err(Error::Shape {
                operation: "load_stacked",
                expected: "maps on a GPU".to_owned(),
                found: format!("{} maps", parts.len()),
            });
        };
        let (mut matrices, mut biases) = (Vec::new(), Vec::new());
        for (weights, out_features) in parts {
            let format = weights.map_format(&[in_features]);
            matrices.push(weights.part_matrix("weight", *out_features, in_features, format)?);
            if bias {
                biases.extend(weights.host_vector("bias", *out_features)?);
            }
        }
        let weight = Matrix::stacked_on(device, &matrices.iter().collect::<Vec<_>>())?;
        let bias = match bias {
            true => Some(DeviceTensor::upload(device, &biases, &[biases.len()])?.into()),
            false => None,
        };
        Ok(Linear { weight, bias })
    }

    /// `(..., in_features) -> (..., out_features)`
    ///
    /// # Errors
    /// The last dimension is not `in_features`.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        if let Some(input) = input.on_device() {
            return Ok(self.forward_on(input, self.weight.dtype())?.into());
        }
        let product = input.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => product.add_row(bias),
            None => Ok(product),
        }
    }

    /// The map of the norm of `hidden`, which a GPU does in one launch where there are few rows.
    ///
    /// # Errors
    /// The last dimension is not `in_features`.
    pub fn forward_normed(&self, hidden: &Tensor, norm: &RmsNorm) -> Result<Tensor> {
        match hidden.on_device() {
            Some(hidden) => Ok(self.forward_normed_on(hidden, norm, self.weight.dtype())?.into()),
            None => self.forward(&norm.forward(hidden)?),
        }
    }

    /// The map, in `f32` wherever it is computed: logits.
    ///
    /// # Errors
    /// The last dimension is not `in_features`.
    pub fn logits(&self, input: &Tensor) -> Result<Tensor> {
        match input.on_device() {
            Some(input) => Ok(self.forward_on(input, DType::F32)?.into()),
            None => self.forward(input),
        }
    }

    /// `hidden` and the map of `input` added.
    ///
    /// # Errors
    /// The last dimension of `input` is not `in_features`, or that of `hidden` not `out_features`.
    pub fn add_to(&self, hidden: Tensor, input: &Tensor) -> Result<Tensor> {
        match input.on_device() {
            Some(input) => self.add_to_on(hidden, input),
            None => hidden.add(&self.forward(input)?),
        }
    }

    /// The weights.
    pub fn weight(&self) -> &Matrix {
        &self.weight
    }
}

/// A vector per token.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Matrix,
}

impl Embedding {
    /// Reads `weight` `(vocab_size, hidden_size)`.
    ///
    /// # Errors
    /// The weight is missing or has another shape.
    pub fn load(weights: &Weights<'_>, vocab_size: usize, hidden_size: usize) -> Result<Embedding> {
        Ok(Embedding { weight: weights.matrix("weight", vocab_size, hidden_size)? })
    }

    /// The embedding with these weights.
    pub fn new(weight: Matrix) -> Embedding {
        Embedding { weight }
    }

    /// `(tokens) -> (tokens, hidden_size)`
    ///
    /// # Errors
    /// A token that is not in the vocabulary.
    pub fn forward(&self, tokens: &[u32]) -> Result<Tensor> {
        self.check(tokens)?;
        let width = self.weight.in_features();
        let mut hidden = vec![0.0; tokens.len() * width];
        for (row, &token) in hidden.chunks_exact_mut(width).zip(tokens) {
            self.weight.copy_row(token as usize, row)?;
        }
        Tensor::from_vec(hidden, &[tokens.len(), width])
    }

    /// Whether all tokens are in the vocabulary.
    ///
    /// # Errors
    /// One is not.
    pub fn check(&self, tokens: &[u32]) -> Result<()> {
        let size = self.weight.out_features();
        match tokens.iter().find(|&&token| token as usize >= size) {
            None => Ok(()),
            Some(token) => {
                Err(Error::input(format!("token {token} is outside the vocabulary of {size} tokens")))
            }
        }
    }

    /// The embeddings of tokens that are on the device of the weights: `u32 (rows) -> (rows, hidden_size)` in `f32`. A
    /// token that is not in the vocabulary gives zeros.
    ///
    /// # Errors
    /// The weights are not on a device, or it has no room.
    pub fn forward_on(&self, tokens: &Buffer, rows: usize) -> Result<Tensor> {
        let table = self.weight.on_device().ok_or_else(|| Error::Shape {
            operation: "embedding",
            expected: "weights on a GPU".to_owned(),
            found: "weights on the processor".to_owned(),
        })?;
        let (vocabulary, width) = (self.weight.out_features(), self.weight.in_features());
        let hidden = DeviceTensor::uninitialised(table.device(), DType::F32, &[rows, width])?;
        let shape = EmbeddingShape { rows, vocabulary, width };
        embedding(table.device(), table.buffer(), tokens, hidden.buffer(), shape, table.dtype())?;
        Ok(hidden.into())
    }

    /// The GPU that the weights are on and their number format; `None` on the processor.
    pub fn device(&self) -> Option<(&Device, DType)> {
        self.weight.on_device().map(|weight| (weight.device(), weight.dtype()))
    }

    /// The map back to the vocabulary with the same weights, for models that tie both.
    pub fn tied(&self) -> Linear {
        Linear::new(self.weight.clone())
    }
}

/// On a GPU: few rows are bound by reading the weights and have kernels of our own, many are the BLAS library's.
impl Linear {
    fn forward_on(&self, input: &DeviceTensor, output: DType) -> Result<DeviceTensor> {
        let input = input.to_dtype(self.weight.dtype())?;
        let y = self.output(&input, output)?;
        self.multiply(&input, &y, false)?;
        Ok(y)
    }

    fn forward_normed_on(
        &self,
        hidden: &DeviceTensor,
        norm: &RmsNorm,
        output: DType,
    ) -> Result<DeviceTensor> {
        let rows = hidden.elements() / self.weight.in_features().max(1);
        if !self.takes_norm(hidden.device(), rows) {
            return self.forward_on(&norm.forward_on(hidden, self.weight.dtype())?, output);
        }
        let hidden = hidden.to_dtype(DType::F32)?;
        let norm_weight = norm.weight().clone().into_device()?;
        let y = self.output(&hidden, output)?;
        let (hidden_buffer, weight) = (hidden.buffer(), norm_weight.buffer());
        let input = Input::Norm { hidden: hidden_buffer, weight, epsilon: norm.epsilon() };
        self.multiply_few(&hidden, input, &y, self.epilogue(&y, false))?;
        Ok(y)
    }

    /// `silu(gate) * up` of a map whose outputs are gate, then up, over the norm of `hidden`: `(tokens, hidden_size)` to
    /// `(tokens, out_features / 2)`.
    ///
    /// # Errors
    /// The input has another width, or the device has no room.
    pub fn swiglu_normed_on(&self, hidden: &DeviceTensor, norm: &RmsNorm) -> Result<DeviceTensor> {
        let (dtype, device) = (self.weight.dtype(), hidden.device());
        let (in_features, width) = (self.weight.in_features(), self.weight.out_features() / 2);
        let rows = hidden.elements() / in_features.max(1);
        let activated = DeviceTensor::uninitialised(device, dtype, &[rows, width])?;
        if self.bias.is_none() && self.takes_norm(device, rows) {
            let hidden = hidden.to_dtype(DType::F32)?;
            let weight = norm.weight().clone().into_device()?;
            let (hidden_buffer, weight) = (hidden.buffer(), weight.buffer());
            let input = Input::Norm { hidden: hidden_buffer, weight, epsilon: norm.epsilon() };
            self.multiply_few(&hidden, input, &activated, Epilogue::SwiGlu)?;
        } else {
            let both = self.forward_normed_on(hidden, norm, dtype)?; // (rows, 2 * width)
            activation::gpu::swiglu(device, both.buffer(), activated.buffer(), rows, width, dtype)?;
        }
        Ok(activated)
    }

    fn add_to_on(&self, hidden: Tensor, input: &DeviceTensor) -> Result<Tensor> {
        let hidden = hidden.into_device()?.into_unique()?;
        self.multiply(&input.to_dtype(self.weight.dtype())?, &hidden, true)?;
        Ok(hidden.into())
    }

    /// Memory for what comes out.
    fn output(&self, input: &DeviceTensor, dtype: DType) -> Result<DeviceTensor> {
        let mut shape = input.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.out_features();
        }
        DeviceTensor::uninitialised(input.device(), dtype, &shape)
    }

    fn epilogue(&self, y: &DeviceTensor, accumulate: bool) -> Epilogue {
        match (accumulate, y.dtype()) {
            (true, _) => Epilogue::Accumulate,
            (false, DType::F32) => Epilogue::StoreF32,
            (false, _) => Epilogue::Store,
        }
    }

    /// `y = x W^T + b`, or adds that to `y`.
    fn multiply(&self, x: &DeviceTensor, y: &DeviceTensor, accumulate: bool) -> Result<()> {
        let rows = self.rows_of(x)?;
        let (in_features, out_features) = (self.weight.in_features(), self.weight.out_features());
        if y.elements() != rows * out_features {
            return Err(self.mismatch(y));
        }
        let blocks = self.weight.blocks_on_device();
        if rows <= FEW_ROWS && blocks.is_none_or(|_| fits_shared(x.device(), in_features)) {
            return self.multiply_few(x, Input::Rows(x.buffer()), y, self.epilogue(y, accumulate));
        }
        // Many rows are bound by arithmetic, which the library does on dense weights.
        let dense = blocks.map(|blocks| blocks.dense(out_features, in_features)).transpose()?;
        let weight = dense.as_ref().or(self.weight.on_device()).ok_or_else(|| self.mismatch(x))?;
        let (input, output) = (weight.dtype(), y.dtype());
        let shape = ProductShape { rows, in_features, out_features, input, output, accumulate };
        // SAFETY: the shapes were compared, and a tensor is as large as its shape.
        unsafe { x.device().matmul(x.address(), weight.address(), y.address(), shape)? };
        match &self.bias {
            Some(bias) => {
                let bias = bias.clone().into_device()?;
                add_bias(x.device(), y.buffer(), bias.buffer(), rows, out_features, output)
            }
            None => Ok(()),
        }
    }

    /// The product of at most [`FEW_ROWS`] rows of `x`, or of what `input` makes of it.
    fn multiply_few(
        &self,
        x: &DeviceTensor,
        input: Input<'_>,
        y: &DeviceTensor,
        epilogue: Epilogue,
    ) -> Result<()> {
        let rows = self.rows_of(x)?;
        let out_features = match epilogue {
            Epilogue::SwiGlu => self.weight.out_features() / 2,
            _ => self.weight.out_features(),
        };
        let bias = self.bias.clone().map(Tensor::into_device).transpose()?;
        let shape = MatmulShape { rows, in_features: self.weight.in_features(), out_features };
        let (bias, dtype, y) = (bias.as_ref().map(DeviceTensor::buffer), self.weight.dtype(), y.buffer());
        match (self.weight.on_device(), self.weight.blocks_on_device()) {
            (Some(weight), _) => {
                let weight = weight.buffer();
                few_rows(x.device(), &FewRows { input, weight, bias, y, epilogue, shape, dtype })
            }
            (None, Some(blocks)) => {
                let (weight, format) = (blocks.buffer(), blocks.format());
                let product = QuantizedFewRows { input, weight, bias, y, epilogue, shape, format, dtype };
                quantized_few_rows(x.device(), &product)
            }
            (None, None) => Err(self.mismatch(x)),
        }
    }

    /// Whether the product of so many rows of the residual stream computes their norm itself.
    fn takes_norm(&self, device: &Device, rows: usize) -> bool {
        let in_features = self.weight.in_features();
        match self.weight.blocks_on_device() {
            Some(_) => rows <= FEW_ROWS && fits_shared(device, in_features),
            None => takes_norm(device, rows, in_features, self.weight.dtype()),
        }
    }

    /// The rows of `x`, which is where the weights are.
    fn rows_of(&self, x: &DeviceTensor) -> Result<usize> {
        let in_features = self.weight.in_features();
        let here = self.weight.device().is_some_and(|device| device.is(x.device()));
        match here && x.shape().last() == Some(&in_features) {
            true => Ok(x.elements() / in_features.max(1)),
            false => Err(self.mismatch(x)),
        }
    }

    fn mismatch(&self, x: &DeviceTensor) -> Error {
        Error::Shape {
            operation: "linear",
            expected: format!(
                "({}, {}) weights on {} and activations to match",
                self.weight.out_features(),
                self.weight.in_features(),
                x.device()
            ),
            found: format!("{:?}", x.shape()),
        }
    }
}
