//! Keys and values on a GPU, in pages.
//!
//! A page holds [`PAGE`] tokens of one sequence for all layers: `(layers, 2, kv_heads, PAGE, head_dim)`, keys then
//! values. Kernels find it through a table of addresses `(slots, max_pages)` that stays where it is, so that a
//! captured step remains valid while sequences grow.

use pipeline_schema::DType;

use crate::error::Result;
use crate::gpu::{Buffer, Device};
use crate::kernels::attention::AttentionShape;
use crate::kernels::attention::gpu::{CacheLayer, DecodeScratch};

pub use crate::kernels::attention::gpu::PAGE;

/// The sizes of what is kept of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Layers.
    pub layers: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Numbers a head.
    pub head_dim: usize,
    /// The number format.
    pub dtype: DType,
}

impl CacheShape {
    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        self.layers * 2 * self.kv_heads * PAGE * self.head_dim * self.dtype.size()
    }
}

/// The keys and values of several sequences.
#[derive(Debug)]
pub struct PagedCache {
    device: Device,
    shape: CacheShape,
    max_pages: usize,
    /// For each sequence its pages; those before the window are given back.
    pages: Vec<Vec<Option<Buffer>>>,
    /// Addresses of pages, `u64 (slots, max_pages)`.
    table: Buffer,
    /// What decoding steps need beside it, and for how many rows.
    steps: Option<(DecodeScratch, usize)>,
}

impl PagedCache {
    /// An empty cache for `slots` sequences of at most `tokens` tokens.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn new(device: &Device, shape: CacheShape, slots: usize, tokens: usize) -> Result<PagedCache> {
        let max_pages = tokens.div_ceil(PAGE).max(1);
        Ok(PagedCache {
            device: device.clone(),
            shape,
            max_pages,
            pages: (0..slots).map(|_| Vec::new()).collect(),
            table: device.zeros(slots.max(1) * max_pages * size_of::<u64>())?,
            steps: None,
        })
    }

    /// One layer, as kernels find it.
    pub fn layer(&self, layer: usize) -> CacheLayer<'_> {
        CacheLayer { pages: &self.table, max_pages: self.max_pages, layer }
    }

    /// Allocates what steps of `rows` sequences need.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn prepare_steps(&mut self, rows: usize, shape: AttentionShape) -> Result<()> {
        if self.steps.as_ref().is_none_or(|(_, room)| *room < rows) {
            self.steps = Some((DecodeScratch::new(&self.device, rows, shape)?, rows));
        }
        Ok(())
    }

    /// What was allocated for steps.
    pub fn steps(&self) -> Option<&DecodeScratch> {
        self.steps.as_ref().map(|(scratch, _)| scratch)
    }

    /// Tokens that a sequence can have.
    pub fn capacity(&self) -> usize {
        self.max_pages * PAGE
    }

    /// The sizes of what is kept.
    pub fn shape(&self) -> CacheShape {
        self.shape
    }

    /// Makes room for the first `tokens` tokens of a sequence. Not while a step is captured.
    ///
    /// # Panics
    /// The sequence gets longer than was said.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn reserve(&mut self, slot: usize, tokens: usize) -> Result<()> {
        let wanted = tokens.div_ceil(PAGE);
        assert!(wanted <= self.max_pages, "a sequence is no longer than was said");
        let first = self.pages[slot].len();
        if wanted <= first {
            return Ok(());
        }
        let mut addresses = Vec::with_capacity(wanted - first);
        for _ in first..wanted {
            let page = self.device.allocate(self.shape.page_bytes())?;
            addresses.push(page.address());
            self.pages[slot].push(Some(page));
        }
        self.device.write(&self.table, (slot * self.max_pages + first) * size_of::<u64>(), &addresses)
    }

    /// Gives back the pages wholly before token `first`, which no later token sees.
    pub fn drop_before(&mut self, slot: usize, first: usize) {
        for page in self.pages[slot].iter_mut().take(first / PAGE) {
            // Work that reads the page is enqueued already; what gets its memory comes after.
            *page = None;
        }
    }

    /// Gives back the memory of a sequence that is finished.
    pub fn release(&mut self, slot: usize) {
        self.pages[slot].clear();
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        let held = self.pages.iter().flatten().filter(|page| page.is_some()).count();
        held * self.shape.page_bytes()
    }
}
