//! What the families share when they launch kernels on a device.

use crate::gpu::{Buffer, Device};

/// Panics unless `buffer` holds numbers of `shape`, each of `size` bytes.
pub(crate) fn expect(buffer: &Buffer, what: &str, shape: &[usize], size: usize) {
    let bytes = shape.iter().try_fold(size, |product, &length| product.checked_mul(length));
    assert!(
        bytes.is_some_and(|bytes| bytes <= buffer.bytes()),
        "{what} is {shape:?} of {size} bytes each, but its buffer has {} bytes",
        buffer.bytes()
    );
}

/// Threads of a block that goes over a row 8 numbers at a time.
pub(crate) fn threads_for_row(width: usize) -> usize {
    width.div_ceil(8).next_multiple_of(64).clamp(64, 1024)
}

/// Blocks of 256 threads that go over `length` numbers 8 at a time in strides: as many as there are numbers for, up
/// to 8 for each multiprocessor.
pub(crate) fn blocks_for(device: &Device, length: usize) -> usize {
    length.div_ceil(8 * 256).clamp(1, 8 * device.chip().multiprocessors as usize)
}
