/// Tells short stories with a sparse mixture of experts.
struct Storyteller {
    /// Experts each token visits: checked against the checkpoint.
    num_active_experts: usize,
    temperature: f32,
}
#[allow(deprecated, trivial_bounds, unexpected_cfgs, unused_qualifications)]
const _: () = {
    use ::pipelines::__private;
    #[cfg(rust_analyzer)]
    __private::look_up! {
        { arch = "moe", task = "text-generation", hardware = [cuda, rocm, cpu], model =
        "checkpoints/tiny" } { default = 2 } { default = 0.8 }
    }
    const _: &::core::primitive::str = ::core::include_str!(
        ::core::concat!(::core::env!("CARGO_MANIFEST_DIR"),
        "/checkpoints/tiny/config.json")
    );
    __private::pipeline! {
        impl Storyteller : Moe, TextGeneration, "Storyteller", [Cuda Rocm Cpu], { const
        MODEL : __private::Option < __private::DeclaredModel > =
        __private::Some(__private::DeclaredModel { path : "checkpoints/tiny",
        manifest_directory : ::core::env!("CARGO_MANIFEST_DIR"), header_hash :
        __private::Some(6944746513587113018u64), }); } (self, parameters) {
        __private::set(& mut parameters.num_active_experts, & self.num_active_experts) ?;
        __private::set(& mut parameters.temperature, & self.temperature) ?; } {
        num_active_experts : 2, temperature : 0.8, }
    }
};
