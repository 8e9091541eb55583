//! Work that was recorded once and is replayed.

use std::sync::Arc;

use super::memory::Pool;
use super::{Device, Handle};
use crate::error::Result;

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
    /// Runs `work` once, then records it. What it allocates comes from memory of the graph's own; what it returns is
    /// dropped after recording, so results must be written to buffers that were there before.
    ///
    /// # Errors
    /// `work` fails, or the driver refuses; nothing is left half-recorded.
    pub fn record(device: &Device, mut work: impl FnMut() -> Result<()>) -> Result<Graph> {
        let pool = Arc::new(Pool::new(device.driver().clone()));
        device.with_pool(pool.clone(), || {
            // The first run compiles kernels, plans products and allocates; none of it may happen while recording.
            work()?;
            let driver = device.driver();
            driver.begin_capture().map_err(|fault| device.error(fault))?;
            let outcome = work();
            let ended = driver.end_capture().map_err(|fault| device.error(fault));
            outcome?;
            let (handle, nodes) = ended?;
            Ok(Graph { device: device.clone(), handle, nodes, _pool: pool.clone() })
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
