#[path = "../architectures/jury.rs"]
mod jury;

use jury::{Jury, Vote};
use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller;

#[pipeline(arch = Jury, task = Vote, generator = Storyteller, generator = Storyteller)]
struct Court;

fn main() {}
