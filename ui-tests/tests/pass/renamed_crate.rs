pub extern crate pipelines as renamed;

mod reexported {
    pub use renamed as conduits;
}

#[renamed::pipeline(arch = moe, crate = renamed)]
struct ByDependency;

#[renamed::pipeline(arch = moe, crate = crate::reexported::conduits)]
struct ByPath;

#[renamed::pipeline(arch = moe, crate = "reexported::conduits")]
struct Quoted;

fn main() {
    use renamed::prelude::Declaration;
    assert_eq!([ByDependency::NAME, ByPath::NAME, Quoted::NAME], ["ByDependency", "ByPath", "Quoted"]);
}
