use pipelines::prelude::*;

// What has no default is no obstacle to a pipeline that is built by hand.
struct Diary(String);

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 0.8)]
    temperature: f32,
    diary: Diary,
}

fn main() {
    let teller = Storyteller { temperature: 0.5, diary: Diary("Dear diary".to_owned()) };
    assert_eq!(teller.diary.0, "Dear diary");
    let _ = teller.into_builder();
}
