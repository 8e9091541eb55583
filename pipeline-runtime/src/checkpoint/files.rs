//! The weight files of a checkpoint, mapped into memory.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use pipeline_schema::checkpoint::{Checkpoint, StoredDtype, TensorInfo, WeightFile};

use super::{MappedSlice, Number};
use crate::error::{Error, Result};

/// The facts of a checkpoint and its weights.
///
/// Cheap to clone: clones share the mappings.
#[derive(Clone, Debug)]
pub struct CheckpointFiles {
    facts: Arc<Checkpoint>,
    mappings: Vec<Arc<Mmap>>,
}

/// One tensor of a checkpoint, where it lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// How its numbers are stored.
    pub dtype: &'a StoredDtype,
    /// Its sizes, outermost first; empty for a single number.
    pub shape: &'a [usize],
    /// Its numbers in row-major order, little-endian; aligned by chance.
    pub bytes: &'a [u8],
}

impl CheckpointFiles {
    /// Reads the facts of the checkpoint in `directory` and maps its weights.
    ///
    /// The files must stay as they are while they are mapped: see [`map`](CheckpointFiles::map).
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] for what [`Checkpoint::read`] finds, and those of [`map`](CheckpointFiles::map).
    pub fn open(directory: &Path) -> Result<CheckpointFiles> {
        CheckpointFiles::map(Checkpoint::read(directory)?)
    }

    /// Maps the weights of a checkpoint whose facts have been read, and checked against the rules perhaps.
    ///
    /// The files must stay as they are while they are mapped. A file replaced by renaming another over it does
    /// no harm; one that is written to changes weights in use, and one that is cut short ends the process with
    /// a signal (`SIGBUS`) when the part that is gone is touched. Every program that maps its weights shares
    /// this limit.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when a file cannot be opened or mapped; [`Error::Malformed`] when it is not the file
    /// whose header was read: its length or the length of its header is another.
    pub fn map(facts: Checkpoint) -> Result<CheckpointFiles> {
        let mappings = facts
            .files()
            .iter()
            .map(|file| map_file(&facts.directory().join(&file.name), file))
            .collect::<Result<_>>()?;
        Ok(CheckpointFiles { facts: Arc::new(facts), mappings })
    }

    /// What the checkpoint says of itself.
    pub fn facts(&self) -> &Checkpoint {
        &self.facts
    }

    /// A tensor by its name in the checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when there is no tensor of that name.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        let tensor = self.find(name)?;
        let bytes = &self.mappings[tensor.file][range(tensor)];
        Ok(TensorView { dtype: &tensor.dtype, shape: &tensor.shape, bytes })
    }

    /// The bytes of a tensor by its name, keeping the file mapped for as long as they live.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when there is no tensor of that name.
    pub fn slice(&self, name: &str) -> Result<MappedSlice> {
        let tensor = self.find(name)?;
        Ok(MappedSlice::new(Arc::clone(&self.mappings[tensor.file]), range(tensor)))
    }

    fn find(&self, name: &str) -> Result<&TensorInfo> {
        self.facts.tensors().get(name).ok_or_else(|| {
            Error::malformed(self.facts.directory(), format!("the checkpoint lacks tensor `{name}`"))
        })
    }
}

impl<'a> TensorView<'a> {
    /// The numbers, without a copy where the bytes are aligned for them (always on common platforms when the
    /// writer padded its header, as the reference does; else they are copied).
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when the tensor is stored in another dtype than `T`'s.
    pub fn numbers<T: Number>(&self) -> Result<Cow<'a, [T]>> {
        if self.dtype.float() == Some(T::DTYPE) {
            return Ok(T::view(self.bytes));
        }
        Err(Error::Shape {
            operation: "reading the numbers of a tensor",
            expected: StoredDtype::Float(T::DTYPE).to_string(),
            found: self.dtype.to_string(),
        })
    }
}

/// Where a tensor is in its mapping. The facts have it inside the file, and the mapping has the file's length.
fn range(tensor: &TensorInfo) -> Range<usize> {
    tensor.range.start as usize..tensor.range.end as usize
}

fn map_file(path: &Path, expected: &WeightFile) -> Result<Arc<Mmap>> {
    let file = File::open(path).map_err(|error| Error::file(path, error))?;
    // SAFETY: the mapping is private to reading and nothing of this process writes to the file. Another
    // process might; that is documented as forbidden, as it is for every program that maps weights.
    let mapping = unsafe { Mmap::map(&file) }.map_err(|error| Error::file(path, error))?;
    let header_length = mapping.first_chunk::<8>().map(|prefix| u64::from_le_bytes(*prefix));
    if mapping.len() as u64 != expected.length || header_length != Some(expected.header_length) {
        let message = format!(
            "the file changed since its header was read: it had {} bytes and a header of {}, \
             and has {} bytes and a header of {}",
            expected.length,
            expected.header_length,
            mapping.len(),
            header_length.unwrap_or(0),
        );
        return Err(Error::malformed(path, message));
    }
    Ok(Arc::new(mapping))
}
