//! A part of a mapped file that keeps the file mapped.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

use super::Number;

/// Bytes of a mapped file. Cheap to clone; the file stays mapped while any clone lives.
#[derive(Clone)]
pub struct MappedSlice {
    mapping: Arc<Mmap>,
    range: Range<usize>,
}

impl MappedSlice {
    /// The bytes of `range`, which is inside the mapping.
    pub(super) fn new(mapping: Arc<Mmap>, range: Range<usize>) -> MappedSlice {
        assert!(
            range.start <= range.end && range.end <= mapping.len(),
            "the facts have tensors inside their file"
        );
        MappedSlice { mapping, range }
    }

    /// A part of these bytes: one expert of many, or some rows of a matrix.
    ///
    /// # Panics
    ///
    /// When the part is not inside.
    pub fn part(&self, part: Range<usize>) -> MappedSlice {
        assert!(part.start <= part.end && part.end <= self.range.len(), "the part is inside");
        let range = self.range.start + part.start..self.range.start + part.end;
        MappedSlice { mapping: Arc::clone(&self.mapping), range }
    }

    /// The bytes as numbers, without a copy where they are aligned for them (and on little-endian machines).
    /// Bytes that are left over at the end and make no whole number are left out.
    pub fn numbers<T: Number>(&self) -> Cow<'_, [T]> {
        T::view(self)
    }

    /// The bytes as numbers where that takes no copy.
    pub fn borrowed<T: Number>(&self) -> Option<&[T]> {
        T::borrow(self)
    }
}

impl Deref for MappedSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.mapping[self.range.clone()]
    }
}

impl AsRef<[u8]> for MappedSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for MappedSlice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MappedSlice({:?})", self.range)
    }
}
