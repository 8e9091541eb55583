#[path = "../architectures/jury.rs"]
mod jury;

use jury::{Jury, Vote};
use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller;

#[pipeline(arch = Jury, task = Vote, generator = Storyteller)]
struct Court;

#[pipeline(arch = Jury, task = Vote, generator = Court)]
struct HigherCourt;

fn main() {}
