//! Working memory that threads keep between calls.

use std::cell::RefCell;

/// A cache line of `f32`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Longer buffers go back to the allocator: 32 MiB a thread and nesting level is what stays.
const LINES_KEPT: usize = 32 << 20 >> 6;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `body` with `length` elements of working memory, aligned to 64 bytes, whose values are left over from
/// whatever used them last. Calls may nest.
pub(crate) fn with_scratch<R>(length: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    let lines = length.div_ceil(16);
    if buffer.len() < lines {
        buffer = vec![Line([0.0; 16]); lines];
    }
    // SAFETY: `Line` is `repr(C)` around 16 `f32` without padding, the lines are initialised and owned by `buffer`.
    let elements = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<f32>(), lines * 16) };
    let result = body(&mut elements[..length]);
    if buffer.len() <= LINES_KEPT {
        BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_buffers_are_aligned_and_apart() {
        with_scratch(33, |outer| {
            outer.fill(1.0);
            with_scratch(100, |inner| {
                assert_eq!(inner.len(), 100);
                assert_eq!(inner.as_ptr() as usize % 64, 0);
                inner.fill(2.0);
            });
            assert_eq!(outer.len(), 33);
            assert!(outer.iter().all(|&value| value == 1.0));
        });
    }
}
