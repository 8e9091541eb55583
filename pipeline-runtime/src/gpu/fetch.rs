//! Results that come to the host while the device works on.

use super::{Buffer, Device, Event, Plain};
use crate::error::Result;

/// Memory of the host that the device writes to.
#[derive(Debug)]
struct HostMemory {
    device: Device,
    address: *mut u8,
    bytes: usize,
}

// SAFETY: the memory is owned, and written by the device only between a start and the wait for it.
unsafe impl Send for HostMemory {}
// SAFETY: as above; shared references only read after the wait.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    fn new(device: &Device, bytes: usize) -> Result<HostMemory> {
        let address = device.driver().allocate_host(bytes).map_err(|fault| device.error(fault))?;
        Ok(HostMemory { device: device.clone(), address, bytes })
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: allocated by the same driver, freed once; whoever owns it has waited for what writes there.
        let _ = unsafe { self.device.driver().free_host(self.address) };
    }
}

/// A copy of device memory on its way to the host: [`start`](Self::start) enqueues it, [`wait`](Self::wait) waits for
/// it alone and not for what was enqueued after it.
#[derive(Debug)]
pub struct Fetch {
    memory: HostMemory,
    event: Event,
    length: usize,
    under_way: bool,
}

impl Fetch {
    /// Room for so many bytes.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn new(device: &Device, bytes: usize) -> Result<Fetch> {
        let event = Event::record(device)?;
        Ok(Fetch { memory: HostMemory::new(device, bytes)?, event, length: 0, under_way: false })
    }

    /// Bytes that there is room for.
    pub fn room(&self) -> usize {
        self.memory.bytes
    }

    /// Enqueues a copy of `parts`, one after the other.
    ///
    /// # Panics
    /// They do not fit.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn start(&mut self, parts: &[Buffer]) -> Result<()> {
        self.finish()?;
        self.length = 0;
        // Set before the first copy: also after an error nothing may be freed that is written to.
        self.under_way = true;
        let device = &self.memory.device;
        for part in parts {
            assert!(part.bytes() <= self.memory.bytes - self.length, "what is fetched fits");
            // SAFETY: in range; the memory is not read or freed before the event.
            let copied = unsafe {
                let to = self.memory.address.add(self.length);
                device.driver().copy_out(to, part.address(), part.bytes())
            };
            copied.map_err(|fault| device.error(fault))?;
            self.length += part.bytes();
        }
        self.event.record_again()
    }

    /// The bytes, when they have come.
    ///
    /// # Errors
    /// Work before them failed.
    pub fn wait(&mut self) -> Result<Fetched<'_>> {
        self.finish()?;
        // SAFETY: allocated with this length or more, and nothing writes there until the next start.
        Ok(Fetched { rest: unsafe { std::slice::from_raw_parts(self.memory.address, self.length) } })
    }

    fn finish(&mut self) -> Result<()> {
        if self.under_way {
            self.event.wait()?;
            self.under_way = false;
        }
        Ok(())
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if self.finish().is_err() {
            let _ = self.memory.device.synchronize();
        }
    }
}

/// Bytes that have come, read from the front.
#[derive(Debug)]
pub struct Fetched<'a> {
    rest: &'a [u8],
}

impl Fetched<'_> {
    /// The next numbers.
    ///
    /// # Panics
    /// There are not so many.
    pub fn take<T: Plain>(&mut self, length: usize) -> Vec<T> {
        let (bytes, rest) = self.rest.split_at(length * size_of::<T>());
        self.rest = rest;
        let mut numbers = vec![T::default(); length];
        // SAFETY: as many bytes as the numbers have, of which every pattern is one.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), numbers.as_mut_ptr().cast(), bytes.len()) };
        numbers
    }
}
