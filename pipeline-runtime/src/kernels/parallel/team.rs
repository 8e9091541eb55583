//! Threads that wait for short sections of work while they are warm.
//!
//! A section of a decoded token lasts from a tenth of a millisecond to a few milliseconds, and the next one follows in
//! microseconds. A thread that sleeps in between costs its wake each time, and Linux may wake it on the very processor
//! that the caller is using, where it waits until the section is over.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a helper looks for the next section before it sleeps: longer than what lies between two sections.
const PATIENCE: Duration = Duration::from_millis(1);

/// Looks at a flag between two looks at the clock, or between two offers to let another thread run.
const LOOKS: usize = 64;

/// Nothing to do, awake.
const IDLE: u8 = 0;
/// Nothing to do, asleep or about to be.
const ASLEEP: u8 = 1;
/// There is a section that nobody has begun.
const POSTED: u8 = 2;
/// The section is being worked on.
const RUNNING: u8 = 3;

/// What a section does on each of its threads.
struct Section<'a> {
    work: &'a (dyn Fn() + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

struct Helper {
    state: AtomicU8,
    /// Valid while the state is `POSTED` or `RUNNING`.
    section: AtomicPtr<Section<'static>>,
}

/// Helpers, for one caller at a time.
pub(super) struct Team {
    busy: AtomicBool,
    helpers: Vec<(Arc<Helper>, Thread)>,
}

impl Team {
    /// Starts so many helpers, or as many as the system allows.
    pub(super) fn new(count: usize) -> Team {
        let start = |_| {
            let helper = Arc::new(Helper { state: AtomicU8::new(IDLE), section: AtomicPtr::default() });
            let its = Arc::clone(&helper);
            let builder = std::thread::Builder::new().name("kernels".to_owned());
            let handle = builder.spawn(move || its.serve()).ok()?;
            Some((helper, handle.thread().clone()))
        };
        Team { busy: AtomicBool::new(false), helpers: (0..count).map_while(start).collect() }
    }

    /// Calls `work` on this thread and on at most `helpers` others, and returns when all of them are done; `false`, and
    /// nothing is called, if another section is under way. Helpers that come too late to begin are not waited for.
    pub(super) fn run(&self, helpers: usize, work: &(dyn Fn() + Sync)) -> bool {
        if self.busy.swap(true, Ordering::Acquire) {
            return false;
        }
        let section = Section { work, panic: Mutex::new(None) };
        let address = (&raw const section).cast_mut().cast::<Section<'static>>();
        let posted = Posted { team: self, count: helpers.min(self.helpers.len()) };
        for (helper, thread) in &self.helpers[..posted.count] {
            helper.section.store(address, Ordering::Relaxed);
            if helper.state.swap(POSTED, Ordering::AcqRel) == ASLEEP {
                thread.unpark();
            }
        }
        work();
        drop(posted);
        if let Some(panic) = section.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
        true
    }
}

/// A section that helpers may be at; none is once this is dropped.
struct Posted<'a> {
    team: &'a Team,
    count: usize,
}

impl Drop for Posted<'_> {
    fn drop(&mut self) {
        for (helper, _) in &self.team.helpers[..self.count] {
            // Acquires what the helper wrote, if it is done.
            let recalled =
                helper.state.compare_exchange(POSTED, IDLE, Ordering::Acquire, Ordering::Acquire).is_ok();
            let mut looks = 0;
            while !recalled && helper.state.load(Ordering::Acquire) == RUNNING {
                looks += 1;
                match looks % LOOKS {
                    0 => std::thread::yield_now(),
                    _ => std::hint::spin_loop(),
                }
            }
        }
        self.team.busy.store(false, Ordering::Release);
    }
}

impl Helper {
    /// Works on sections for ever.
    fn serve(&self) {
        loop {
            self.wait();
            if self.state.compare_exchange(POSTED, RUNNING, Ordering::Acquire, Ordering::Relaxed).is_err() {
                continue;
            }
            // SAFETY: the caller keeps the section until this helper's state is no longer `RUNNING`.
            let section = unsafe { &*self.section.load(Ordering::Relaxed) };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (section.work)())) {
                *section.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            self.state.store(IDLE, Ordering::Release);
        }
    }

    /// Returns when there was a section; it may have been recalled since.
    fn wait(&self) {
        let begin = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if self.state.load(Ordering::Relaxed) == POSTED {
                    return;
                }
                std::hint::spin_loop();
            }
            if begin.elapsed() > PATIENCE {
                break;
            }
        }
        if self.state.compare_exchange(IDLE, ASLEEP, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            while self.state.load(Ordering::Relaxed) == ASLEEP {
                std::thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Counts to `count` with a team, in sections that follow each other at once or after its helpers fell asleep.
    fn count_to(team: &Team, count: usize) {
        for pause in [0, 0, 0, 3, 0] {
            std::thread::sleep(Duration::from_millis(pause));
            let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = || {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            };
            if !team.run(8, &work) {
                work();
            }
            assert_eq!(done.into_inner(), count);
        }
    }

    #[test]
    fn sections_are_done_when_they_return() {
        for helpers in [0, 1, 3] {
            count_to(&Team::new(helpers), 10_000);
        }
    }

    #[test]
    fn callers_share_a_team() {
        let team = Team::new(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| count_to(&team, 1000));
            }
        });
    }

    #[test]
    fn panics_reach_the_caller() {
        let team = Team::new(1);
        let caller = std::thread::current().id();
        for panics_here in [true, false] {
            let begun = AtomicBool::new(false);
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(1, &|| {
                    let here = std::thread::current().id() == caller;
                    if here == panics_here {
                        begun.store(true, Ordering::Relaxed);
                        panic!("expected");
                    }
                    while !begun.load(Ordering::Relaxed) && !panics_here {
                        std::thread::yield_now();
                    }
                })
            }));
            assert!(result.is_err());
        }
        count_to(&team, 1000);
    }
}
