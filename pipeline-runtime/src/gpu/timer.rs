//! Time on a device.

use super::{Device, Handle};
use crate::error::Result;

/// An event on a device. It is destroyed with its last use.
#[derive(Debug)]
pub struct Event {
    device: Device,
    handle: Handle,
}

impl Event {
    /// An event that happens when all work enqueued so far is done.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn record(device: &Device) -> Result<Event> {
        let handle = device.driver().create_event().map_err(|fault| device.error(fault))?;
        let event = Event { device: device.clone(), handle };
        event.record_again()?;
        Ok(event)
    }

    /// Moves the event: now it happens when all work enqueued so far is done.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn record_again(&self) -> Result<()> {
        // SAFETY: the event lives as long as `self`.
        unsafe { self.device.driver().record_event(self.handle) }.map_err(|fault| self.device.error(fault))
    }

    /// Waits until it has happened.
    ///
    /// # Errors
    /// Work before it failed.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: as above.
        unsafe { self.device.driver().wait_event(self.handle) }.map_err(|fault| self.device.error(fault))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: destroyed once; the driver keeps an event until it has happened.
        unsafe { self.device.driver().destroy_event(self.handle) };
    }
}

/// A span of work that is being measured.
#[derive(Debug)]
pub struct Timer {
    start: Event,
}

impl Timer {
    /// Begins after all work enqueued so far.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn start(device: &Device) -> Result<Timer> {
        Ok(Timer { start: Event::record(device)? })
    }

    /// Milliseconds that the work enqueued since took. Waits for it.
    ///
    /// # Errors
    /// The work failed.
    pub fn milliseconds(&self) -> Result<f32> {
        let end = Event::record(&self.start.device)?;
        end.wait()?;
        // SAFETY: both events have happened.
        let elapsed = unsafe { end.device.driver().elapsed(self.start.handle, end.handle) };
        elapsed.map_err(|fault| end.device.error(fault))
    }
}
