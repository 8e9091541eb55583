#[path = "../architectures/jury.rs"]
mod jury;

use jury::{Jury, Vote};
use pipelines::prelude::*;

struct Storyteller;

#[pipeline(arch = Jury, task = Vote, generator = Storyteller)]
struct Court;

fn main() {}
