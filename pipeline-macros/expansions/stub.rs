struct Storyteller(Vec<u8>);
#[allow(deprecated, trivial_bounds, unexpected_cfgs, unused_qualifications)]
const _: () = {
    use ::pipelines::__private;
    #[cfg(rust_analyzer)]
    __private::look_up! {
        { arch = moe, format = crate ::format, custom(preprocess), dtpye = bf16 }
    }
    #[automatically_derived]
    impl __private::Declaration for Storyteller {
        type Architecture = __private::arch::Moe;
        type Task = __private::task::TextGeneration;
        const NAME: &'static __private::str = "Storyteller";
        const HARDWARE: &'static [__private::Hardware] = &[];
        fn configure(
            &self,
            _parameters: &mut __private::ParametersOf<Self>,
        ) -> __private::Result<()> {
            __private::Ok(())
        }
    }
    #[automatically_derived]
    impl __private::Declared for Storyteller {
        fn declared() -> Self {
            loop {}
        }
    }
    #[automatically_derived]
    impl __private::LoadableAsPart for Storyteller
    where
        for<'declared> Storyteller: __private::Declared + __private::Stages + 'static,
    {
        type This = Self;
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
    impl __private::InfersByDefault for Storyteller {}
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
};
::core::compile_error! {
    "unknown key `dtpye`; did you mean `dtype`?"
}
