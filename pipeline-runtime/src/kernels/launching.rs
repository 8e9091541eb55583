//! What the families share when they launch kernels on a device.

use crate::gpu::Buffer;

/// Panics unless `buffer` holds numbers of `shape`, each of `size` bytes.
pub(crate) fn expect(buffer: &Buffer, what: &str, shape: &[usize], size: usize) {
    let bytes = shape.iter().try_fold(size, |product, &length| product.checked_mul(length));
    assert!(
        bytes.is_some_and(|bytes| bytes <= buffer.bytes()),
        "{what} is {shape:?} of {size} bytes each, but its buffer has {} bytes",
        buffer.bytes()
    );
}
