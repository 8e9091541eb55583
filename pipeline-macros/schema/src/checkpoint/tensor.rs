//! What a header says of a tensor.

use std::fmt;
use std::ops::Range;

use crate::dtype::DType;

/// How a file stores the numbers of a tensor, by the names of the safetensors format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredDtype {
    /// A format of floating-point numbers that models compute in.
    Float(DType),
    /// Another format of the safetensors specification.
    Other {
        /// Its name: `I64`, `F8_E4M3`.
        name: &'static str,
        /// Bits of one number.
        bits: u8,
    },
    /// A name that the specification does not know: an error only where the tensor is needed.
    Unknown(Box<str>),
}

/// The formats of the safetensors specification that models do not compute in, with their bits.
const OTHERS: [(&str, u8); 17] = [
    ("BOOL", 8),
    ("U8", 8),
    ("I8", 8),
    ("I16", 16),
    ("U16", 16),
    ("I32", 32),
    ("U32", 32),
    ("I64", 64),
    ("U64", 64),
    ("F64", 64),
    ("C64", 64),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("F8_E8M0", 8),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("F4", 4),
];

impl StoredDtype {
    /// The format that a header calls `name`.
    pub fn from_name(name: &str) -> StoredDtype {
        match name {
            "BF16" => StoredDtype::Float(DType::BF16),
            "F16" => StoredDtype::Float(DType::F16),
            "F32" => StoredDtype::Float(DType::F32),
            _ => match OTHERS.iter().find(|(other, _)| *other == name) {
                Some(&(name, bits)) => StoredDtype::Other { name, bits },
                None => StoredDtype::Unknown(name.into()),
            },
        }
    }

    /// The name that a header uses.
    pub fn name(&self) -> &str {
        match self {
            StoredDtype::Float(DType::F32) => "F32",
            StoredDtype::Float(DType::BF16) => "BF16",
            StoredDtype::Float(DType::F16) => "F16",
            StoredDtype::Other { name, .. } => name,
            StoredDtype::Unknown(name) => name,
        }
    }

    /// Bits of one number, where the format is known.
    pub fn bits(&self) -> Option<u8> {
        match self {
            StoredDtype::Float(dtype) => Some(8 * dtype.size() as u8),
            StoredDtype::Other { bits, .. } => Some(*bits),
            StoredDtype::Unknown(_) => None,
        }
    }

    /// The format as one that models compute in, where it is one.
    pub fn float(&self) -> Option<DType> {
        match self {
            StoredDtype::Float(dtype) => Some(*dtype),
            _ => None,
        }
    }
}

impl fmt::Display for StoredDtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// How its numbers are stored.
    pub dtype: StoredDtype,
    /// Its sizes, outermost first; empty for a single number.
    pub shape: Vec<usize>,
    /// Which of [`Checkpoint::files`](super::Checkpoint::files) has it.
    pub file: usize,
    /// Where its bytes are, counted from the beginning of that file.
    ///
    /// Inside the file; as many as shape and dtype take where the dtype is known.
    pub range: Range<u64>,
}

/// The tensors of a checkpoint by name. No name is there twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tensors {
    /// Sorted by name. Headers come nearly sorted, so this is built several times as fast as a tree.
    entries: Vec<(String, TensorInfo)>,
}

impl Tensors {
    /// Sorts the tensors by name; of two of the same name, returns the name and both.
    pub(super) fn new(
        mut entries: Vec<(String, TensorInfo)>,
    ) -> Result<Tensors, Box<[(String, TensorInfo); 2]>> {
        let in_order = |entries: &[(String, TensorInfo)]| {
            let mut index = 1;
            while index < entries.len() && entries[index - 1].0 < entries[index].0 {
                index += 1;
            }
            index >= entries.len()
        };
        if !in_order(&entries) {
            entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            if let Some(twice) = entries.windows(2).position(|pair| pair[0].0 == pair[1].0) {
                let second = entries.swap_remove(twice + 1);
                let first = entries.swap_remove(twice);
                return Err(Box::new([first, second]));
            }
        }
        Ok(Tensors { entries })
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        let index = self.entries.binary_search_by(|(entry, _)| entry.as_str().cmp(name)).ok()?;
        Some(&self.entries[index].1)
    }

    /// The tensor of this name, where it is likely to follow the one that was found before.
    ///
    /// `place` is 0 at first and kept by the caller.
    pub(crate) fn get_next(&self, name: &str, place: &mut usize) -> Option<&TensorInfo> {
        if *place >= self.entries.len() || self.entries[*place].0 != name {
            *place = self.entries.binary_search_by(|(entry, _)| entry.as_str().cmp(name)).ok()?;
        }
        *place += 1;
        Some(&self.entries[*place - 1].1)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every tensor, in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &TensorInfo)> {
        self.entries.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
