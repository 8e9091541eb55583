#[path = "../architectures/jury.rs"]
mod jury;

use jury::{Jury, Vote};
use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cuda, rocm])]
struct Storyteller;

#[pipeline(arch = Jury, task = Vote, hardware = [cpu], generator = Storyteller)]
struct Court;

fn main() {}
