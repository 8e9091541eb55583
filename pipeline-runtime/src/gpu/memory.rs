//! Device memory: what is given back is kept for the next that asks for as much, so that a step that repeats
//! allocates nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::driver::{Cause, Driver, Fault};

/// Blocks are multiples of this.
const GRAIN: usize = 512;

/// Memory of one device, or of one graph on it.
#[derive(Debug)]
pub struct Pool {
    driver: Arc<dyn Driver>,
    /// Blocks that nobody uses, by size.
    free: Mutex<BTreeMap<usize, Vec<u64>>>,
    held: AtomicUsize,
}

impl Pool {
    /// An empty pool.
    pub fn new(driver: Arc<dyn Driver>) -> Pool {
        Pool { driver, free: Mutex::default(), held: AtomicUsize::new(0) }
    }

    fn free(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<u64>>> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Bytes that the pool has from the driver, in use or not.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A block that is large enough. All work is in one order, so a block may be used again as soon as the work that
    /// used it is enqueued.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Buffer, Fault> {
        let wanted = bytes.max(1).next_multiple_of(GRAIN);
        // What is a little larger serves too.
        let limit = wanted + wanted / 4;
        let mut free = self.free();
        let fitting =
            free.range(wanted..=limit).find(|(_, blocks)| !blocks.is_empty()).map(|(size, _)| *size);
        let reused = fitting.and_then(|size| Some((free.get_mut(&size)?.pop()?, size)));
        drop(free);
        let (address, capacity) = match reused {
            Some(block) => block,
            None => (self.allocate(wanted)?, wanted),
        };
        Ok(Buffer { address, bytes, block: Arc::new(Block { address, capacity, pool: self.clone() }) })
    }

    fn allocate(&self, bytes: usize) -> Result<u64, Fault> {
        let allocated = match self.driver.allocate(bytes) {
            Err(fault) if fault.cause == Cause::OutOfMemory => {
                self.trim();
                self.driver.allocate(bytes)
            }
            other => other,
        };
        let address = allocated.map_err(|fault| {
            let free = self.driver.memory().map_or(0, |(free, _)| free);
            let message = match fault.cause {
                Cause::OutOfMemory => format!("{bytes} bytes were asked for, {free} are free"),
                _ => fault.message,
            };
            Fault { message, ..fault }
        })?;
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(address)
    }

    /// Gives unused blocks back to the driver.
    pub fn trim(&self) {
        for (size, blocks) in std::mem::take(&mut *self.free()) {
            for address in blocks {
                self.held.fetch_sub(size, Ordering::Relaxed);
                // SAFETY: the block is of this driver and nobody uses it. A driver that refuses has lost its memory.
                let _ = unsafe { self.driver.free(address) };
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.trim();
    }
}

/// Bytes on a device. Cheap to clone; clones and slices share the memory, which goes back to its pool with the last.
#[derive(Clone, Debug)]
pub struct Buffer {
    address: u64,
    bytes: usize,
    block: Arc<Block>,
}

#[derive(Debug)]
struct Block {
    address: u64,
    capacity: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    /// Where it begins.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A part of it.
    ///
    /// # Panics
    /// The part is not within it.
    pub fn slice(&self, offset: usize, bytes: usize) -> Buffer {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.bytes), "a slice lies in its buffer");
        Buffer { address: self.address + offset as u64, bytes, block: self.block.clone() }
    }

    /// Whether nobody else has a part of its memory.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.block) == 1
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.free().entry(self.capacity).or_default().push(self.address);
    }
}
