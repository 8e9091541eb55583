#[path = "../architectures/jury.rs"]
mod jury;

use jury::{Jury, Vote};
use pipelines::prelude::*;

#[pipeline(arch = moe, custom(format))]
struct Storyteller;

impl Format for Storyteller {
    type Output = usize;

    fn format(&self, _: &CallOf<'_, Self>, raw: RawOf<Self>) -> Result<Vec<usize>> {
        Ok(vec![raw.len()])
    }
}

#[pipeline(arch = Jury, task = Vote, generator = Storyteller)]
struct Court;

fn main() {}
