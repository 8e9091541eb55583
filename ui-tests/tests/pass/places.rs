use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct One;

#[pipeline(arch = moe, task = feature-extraction)]
pub(crate) struct Two(Vec<u8>, #[allow(dead_code)] String);

mod inner {
    #[pipelines::pipeline(arch = moe)]
    pub(super) struct One {
        pub(super) r#type: u8,
    }
}

fn main() {
    #[pipeline(arch = moe, format = format)]
    struct Local;

    fn format(_: &Local, _: &CallOf<'_, Local>, _: RawOf<Local>) -> Result<Vec<OutputOf<Local>>> {
        Ok(Vec::new())
    }

    assert_eq!([One::NAME, Two::NAME, inner::One::NAME, Local::NAME], ["One", "Two", "One", "Local"]);
    assert_eq!(inner::One { r#type: 1 }.r#type, 1);
    assert_eq!(Two(vec![1], String::new()).0, [1]);
}
