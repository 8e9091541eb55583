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
    #[automatically_derived]
    impl __private::Declaration for Storyteller {
        type Architecture = __private::arch::Moe;
        type Task = __private::task::TextGeneration;
        const NAME: &'static __private::str = "Storyteller";
        const HARDWARE: &'static [__private::Hardware] = &[
            __private::Hardware::Cuda,
            __private::Hardware::Rocm,
            __private::Hardware::Cpu,
        ];
        const MODEL: __private::Option<__private::DeclaredModel> = __private::Some(__private::DeclaredModel {
            path: "checkpoints/tiny",
            manifest_directory: ::core::env!("CARGO_MANIFEST_DIR"),
            header_hash: __private::Some(6944746513587113018u64),
        });
        const DTYPE: __private::Option<__private::DType> = __private::None;
        fn configure(
            &self,
            parameters: &mut __private::ParametersOf<Self>,
        ) -> __private::Result<()> {
            __private::set(
                &mut parameters.num_active_experts,
                &self.num_active_experts,
            )?;
            __private::set(&mut parameters.temperature, &self.temperature)?;
            __private::Ok(())
        }
    }
    #[automatically_derived]
    impl __private::Declared for Storyteller {
        fn declared() -> Self {
            Self {
                num_active_experts: 2,
                temperature: 0.8,
            }
        }
    }
    #[automatically_derived]
    impl __private::LoadableAsPart for Storyteller {
        type This = Self;
    }
    #[automatically_derived]
    impl __private::Preprocess for Storyteller {
        fn preprocess(
            &self,
            call: &__private::CallOf<'_, Self>,
            inputs: __private::Vec<__private::InputOf<Self>>,
        ) -> __private::Result<__private::PreparedOf<Self>> {
            __private::declared::preprocess::<Self>(call, inputs)
        }
    }
    #[automatically_derived]
    impl __private::Route for Storyteller {
        fn route(
            &self,
            call: &__private::CallOf<'_, Self>,
            prepared: &__private::PreparedOf<Self>,
        ) -> __private::Result<__private::PlanOf<Self>> {
            __private::declared::route::<Self>(call, prepared)
        }
    }
    #[automatically_derived]
    impl __private::Infer for Storyteller {
        fn infer(
            &self,
            call: &__private::CallOf<'_, Self>,
            prepared: __private::PreparedOf<Self>,
            plan: __private::PlanOf<Self>,
        ) -> __private::Result<__private::RawOf<Self>> {
            __private::declared::infer::<Self>(call, prepared, plan)
        }
    }
    #[automatically_derived]
    impl __private::Format for Storyteller {
        type Output = __private::OutputOf<Self>;
        fn format(
            &self,
            call: &__private::CallOf<'_, Self>,
            raw: __private::RawOf<Self>,
        ) -> __private::Result<__private::Vec<Self::Output>> {
            __private::declared::format::<Self>(call, raw)
        }
    }
    #[automatically_derived]
    impl __private::InfersByDefault for Storyteller {}
};
