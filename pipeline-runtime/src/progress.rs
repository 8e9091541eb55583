//! Progress bars, hidden where standard error is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar that disappears when it is dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `length` steps; drawn on standard error if `shown` and if that is a terminal.
    pub fn new(what: &'static str, length: usize, shown: bool) -> Progress {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")
            .expect("the template is fixed and well-formed");
        let bar = ProgressBar::with_draw_target(Some(length as u64), target).with_style(style);
        Progress { bar: bar.with_message(what) }
    }

    /// Moves the bar to step `position`.
    pub fn set(&mut self, position: usize) {
        self.bar.set_position(position as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
