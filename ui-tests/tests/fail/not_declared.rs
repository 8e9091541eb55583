struct Storyteller;

fn start<D: pipelines::Declared>() {
    D::declared();
}

fn main() {
    start::<Storyteller>();
}
