use pipelines::prelude::*;

#[pipeline(arch = sam, task = image_segmentation)]
struct Storyteller {
    #[param(default = [[100, 200], [120.5, 90]])]
    points: Vec<[f32; 2]>,
    #[param(default = [1])]
    point_labels: Vec<u8>,
}

fn main() {}
