//! The arguments of a forward pass, read from a safetensors file.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};

/// Named tensors, as the reference's `forward` takes them.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    tensors: BTreeMap<String, InputTensor>,
}

/// One argument.
#[derive(Clone, Debug, PartialEq)]
pub struct InputTensor {
    /// The size of every dimension.
    pub shape: Vec<usize>,
    /// The numbers, row-major.
    pub numbers: Numbers,
}

/// The numbers of an argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Whole numbers and booleans.
    Integers(Vec<i64>),
    /// Numbers with a fraction.
    Floats(Vec<f32>),
}

impl Inputs {
    /// Reads every tensor of a safetensors file.
    ///
    /// # Errors
    /// The file cannot be read, is malformed or has a number format that no argument has.
    pub fn read(path: &Path) -> Result<Inputs> {
        let bytes = std::fs::read(path).map_err(|source| Error::file(path, source))?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|problem| Error::malformed(path, format!("no safetensors file: {problem}")))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let numbers = numbers(&view).ok_or_else(|| {
                Error::malformed(path, format!("tensor `{name}` has the dtype {:?}", view.dtype()))
            })?;
            tensors.insert(name, InputTensor { shape: view.shape().to_vec(), numbers });
        }
        Ok(Inputs { tensors })
    }

    /// Refuses arguments that are not among `known`.
    ///
    /// # Errors
    /// An argument is not, with the nearest that is.
    pub fn check_names(&self, known: &[&str]) -> Result<()> {
        match self.tensors.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let instead = pipeline_schema::suggest::instead(name, known.iter().copied());
                Err(Error::input(format!("the model takes no input `{name}`; {instead}")))
            }
        }
    }

    /// The argument `name`.
    pub fn get(&self, name: &str) -> Option<&InputTensor> {
        self.tensors.get(name)
    }

    /// The names of all arguments.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Sets the argument `name`.
    pub fn insert(&mut self, name: &str, tensor: InputTensor) {
        self.tensors.insert(name.to_owned(), tensor);
    }

    /// The whole numbers of `name`, if it is given.
    ///
    /// # Errors
    /// It has fractions, or another shape than `shape`.
    pub fn integers(&self, name: &str, shape: &[usize]) -> Result<Option<&[i64]>> {
        let Some(tensor) = self.get(name) else { return Ok(None) };
        match &tensor.numbers {
            Numbers::Integers(numbers) if tensor.shape == shape => Ok(Some(numbers)),
            Numbers::Integers(_) => {
                Err(Error::input(format!("input `{name}` has shape {:?}, expected {shape:?}", tensor.shape)))
            }
            Numbers::Floats(_) => {
                Err(Error::input(format!("input `{name}` has fractions, expected whole numbers")))
            }
        }
    }
}

/// The elements of a view: little-endian in the file, in any alignment.
fn numbers(view: &TensorView<'_>) -> Option<Numbers> {
    fn read<const SIZE: usize, T>(bytes: &[u8], from: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
        bytes.as_chunks::<SIZE>().0.iter().map(|chunk| from(*chunk)).collect()
    }
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::I64 => Numbers::Integers(read(bytes, i64::from_le_bytes)),
        Dtype::I32 => Numbers::Integers(read(bytes, |chunk| i32::from_le_bytes(chunk).into())),
        Dtype::U32 => Numbers::Integers(read(bytes, |chunk| u32::from_le_bytes(chunk).into())),
        Dtype::I16 => Numbers::Integers(read(bytes, |chunk| i16::from_le_bytes(chunk).into())),
        Dtype::I8 => Numbers::Integers(read(bytes, |[byte]| i64::from(byte as i8))),
        Dtype::U8 | Dtype::BOOL => Numbers::Integers(read(bytes, |[byte]| i64::from(byte))),
        Dtype::F32 => Numbers::Floats(read(bytes, f32::from_le_bytes)),
        Dtype::F64 => Numbers::Floats(read(bytes, |chunk| f64::from_le_bytes(chunk) as f32)),
        Dtype::F16 => Numbers::Floats(read(bytes, |chunk| f16::from_le_bytes(chunk).to_f32())),
        Dtype::BF16 => Numbers::Floats(read(bytes, |chunk| bf16::from_le_bytes(chunk).to_f32())),
        _ => return None,
    })
}
