use pipelines::prelude::*;

#[pipeline(arch = "moe", task = "text-generation", hardware = ["cuda", "rocm", "cpu"], dtype = "bf16")]
struct Quoted;

#[pipeline(arch = moe, task = text-generation, hardware = [cuda, rocm, cpu], dtype = bf16)]
struct Bare;

#[pipeline(arch = mixture-of-experts, task = text_generation, hardware = [nvidia, amd, cpu], dtype = bfloat16)]
struct Aliases;

#[pipeline(arch = "sparse", task = "text_embedding", hardware = cuda)]
struct Others;

#[pipeline(arch = moe)]
struct Defaults;

fn main() {
    let all = [Hardware::Cuda, Hardware::Rocm, Hardware::Cpu];
    assert_eq!(Quoted::HARDWARE, all);
    assert_eq!(Bare::HARDWARE, all);
    assert_eq!(Aliases::HARDWARE, all);
    assert_eq!(Others::HARDWARE, [Hardware::Cuda]);
    assert_eq!(Defaults::HARDWARE, [Hardware::Cpu]);
    assert_eq!(Quoted::DTYPE, Some(DType::BF16));
    assert_eq!(Bare::DTYPE, Some(DType::BF16));
    assert_eq!(Aliases::DTYPE, Some(DType::BF16));
    assert_eq!(Defaults::DTYPE, None);
    assert_eq!(Defaults::NAME, "Defaults");
    assert!(Defaults::MODEL.is_none());
}
