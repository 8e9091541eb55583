use pipelines::prelude::*;

struct Storyteller;

fn tell<D: Declaration>(_: D) {}

fn main() {
    tell(Storyteller);
}
