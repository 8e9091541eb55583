#[path = "../architectures/jury.rs"]
mod jury;

use jury::{Jury, Vote};
use pipelines::prelude::*;

pub struct Source(u8);

#[pipeline(arch = moe)]
struct Storyteller {
    source: Source,
}

#[pipeline(arch = Jury, task = Vote, generator = Storyteller)]
struct Court;

fn main() {}
