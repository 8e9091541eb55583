//! Work that was recorded once and is replayed.

use std::sync::Arc;

use super::driver::Cause;
use super::memory::Pool;
use super::{Device, Handle};
use crate::error::Result;

/// How often work is recorded at most, where other threads disturb it.
const ATTEMPTS: usize = 10;

/// Recorded work, with the memory of its intermediate results.
#[derive(Debug)]
pub struct Graph {
    device: Device,
    handle: Handle,
    nodes: usize,
    /// What was allocated while recording: nobody else may have it, since each replay writes there.
    _pool: Arc<Pool>,
}

impl Graph {
    /// Runs `work` once, then records it, anew where another thread's use of the device has disturbed that. What it
    /// allocates comes from memory of the graph's own. Gives what the run gave, and what the recording gave: where each
    /// replay leaves its results.
    ///
    /// # Errors
    /// `work` fails, or the driver refuses; nothing is left half-recorded.
    pub fn record<T>(device: &Device, mut work: impl FnMut() -> Result<T>) -> Result<(T, T, Graph)> {
        let pool = Arc::new(Pool::new(device.driver().clone()));
        device.with_pool(pool.clone(), || {
            // The first run compiles kernels, plans products and allocates; none of it may happen while recording.
            let first = work()?;
            let driver = device.driver();
            let mut attempts = 0;
            loop {
                driver.begin_capture().map_err(|fault| device.error(fault))?;
                let outcome = work();
                let ended = driver.end_capture();
                attempts += 1;
                if ended.as_ref().is_err_and(|fault| fault.cause == Cause::Disturbed) && attempts < ATTEMPTS {
                    continue;
                }
                // Made before the outcome is looked at: what was recorded is given back with it.
                let graph = ended.map(|(handle, nodes)| {
                    let (device, _pool) = (device.clone(), pool.clone());
                    Graph { device, handle, nodes, _pool }
                });
                let recorded = outcome?;
                return Ok((first, recorded, graph.map_err(|fault| device.error(fault))?));
            }
        })
    }

    /// Enqueues the work again.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn launch(&self) -> Result<()> {
        // SAFETY: the graph is destroyed on drop only, and what it refers to is kept by whoever recorded it.
        unsafe { self.device.driver().launch_graph(self.handle) }.map_err(|fault| self.device.error(fault))
    }

    /// Launches and copies in it.
    pub fn nodes(&self) -> usize {
        self.nodes
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.device.synchronize();
        // SAFETY: nothing runs any more, and the handle is destroyed once.
        unsafe { self.device.driver().destroy_graph(self.handle) };
    }
}
