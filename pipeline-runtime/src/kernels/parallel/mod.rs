//! Sharing blocks of work among threads.

mod team;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use team::Team;

/// The helpers of callers that are in no rayon pool: with the caller, as many threads as the global pool has.
static TEAM: LazyLock<Team> = LazyLock::new(|| Team::new(rayon::current_num_threads() - 1));

/// Products (multiply and add) below which a fork costs more than it saves: about 20 microseconds of one thread.
pub(crate) const PRODUCTS_WORTH_A_FORK: usize = 1 << 20;

/// Elements below which an element-wise kernel stays on the calling thread.
pub(crate) const ELEMENTS_WORTH_A_FORK: usize = 1 << 17;

/// The threads that a forked section has, or the one that a section on the calling thread has: asking rayon starts its
/// threads.
pub(crate) fn threads(fork: bool) -> usize {
    if fork { rayon::current_num_threads() } else { 1 }
}

/// Calls `body` once for each block in `0..blocks`, on all threads of the current rayon pool if `fork`, each thread
/// taking the next block when it is done with one, so that memory is walked front to back by all of them together.
pub(crate) fn for_each_block(blocks: usize, fork: bool, body: impl Fn(usize) + Sync) {
    let threads = threads(fork && blocks > 1).min(blocks.max(1));
    if threads == 1 {
        (0..blocks).for_each(body);
        return;
    }
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            if block >= blocks {
                break;
            }
            body(block);
        }
    };
    let outside = rayon::current_thread_index().is_none();
    if outside && TEAM.run(threads - 1, &work) {
        return;
    }
    rayon::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| work());
        }
        work();
    });
}

/// Splits `0..length` into ranges of `size`, the last one shorter, and gives the one at `block`.
pub(crate) fn block_range(block: usize, size: usize, length: usize) -> std::ops::Range<usize> {
    (block * size).min(length)..((block + 1) * size).min(length)
}

/// A slice that several threads write, each at places of its own.
#[derive(Clone, Copy)]
pub(crate) struct SharedSlice<'a, T> {
    start: *mut T,
    length: usize,
    borrow: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: the methods that reach the elements are unsafe and ask for places that no other thread uses.
unsafe impl<T: Send> Send for SharedSlice<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        SharedSlice { start: slice.as_mut_ptr(), length: slice.len(), borrow: std::marker::PhantomData }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// Nobody else may use an element of `range` while the result lives.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn range(&self, range: std::ops::Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: inside the slice that `new` borrowed for `'a`; the caller vouches that it is not aliased.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The address of the element at `index`, to be written by one thread alone.
    pub(crate) fn at(&self, index: usize) -> *mut T {
        assert!(index <= self.length);
        // SAFETY: inside the slice or one past its end.
        unsafe { self.start.add(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_runs_once() {
        for (blocks, fork) in [(0, true), (1, true), (7, false), (1000, true)] {
            let counts: Vec<AtomicUsize> = (0..blocks).map(|_| AtomicUsize::new(0)).collect();
            for_each_block(blocks, fork, |block| {
                counts[block].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn ranges_cover_the_length() {
        let covered: Vec<usize> = (0..4).flat_map(|block| block_range(block, 3, 10)).collect();
        assert_eq!(covered, (0..10).collect::<Vec<_>>());
        assert!(block_range(5, 3, 10).is_empty());
    }
}
