#[derive(Clone, Debug)]
pub(crate) struct Poet<'a, T: Send + Sync, const N: usize>
where
    T: Clone,
{
    pub temperature: f32,
    seed: Option<u64>,
    stop: Vec<String>,
    #[cfg(feature = "capacity")]
    capacity_factor: Option<f64>,
    do_sample: bool,
    /// The poet's own.
    lines: [&'a T; N],
    #[cfg(feature = "rhymes")]
    rhymes: Rhymes,
}
#[allow(deprecated, trivial_bounds, unexpected_cfgs, unused_qualifications)]
const _: () = {
    use renamed::pipelines::__private;
    #[cfg(rust_analyzer)]
    __private::look_up! {
        { arch = sparse, task = crate ::tasks::Rhyme, hardware = rocm, dtype = bf16,
        crate = renamed::pipelines, route = self::route, custom(infer, format), } {
        default = 1, range = 0..= 2 } { default = ["\n\n", "END"] } { default = 1.25 } {
        default = true }
    }
    #[automatically_derived]
    impl<'a, T: Send + Sync, const N: usize> __private::Declaration for Poet<'a, T, N>
    where
        T: Clone,
    {
        type Architecture = __private::arch::Moe;
        type Task = crate::tasks::Rhyme;
        const NAME: &'static __private::str = "Poet";
        const HARDWARE: &'static [__private::Hardware] = &[__private::Hardware::Rocm];
        const DTYPE: __private::Option<__private::DType> = __private::Some(
            __private::DType::BF16,
        );
        fn configure(
            &self,
            parameters: &mut __private::ParametersOf<Self>,
        ) -> __private::Result<()> {
            __private::set_within(
                "temperature",
                &mut parameters.temperature,
                &self.temperature,
                0.0..=2.0,
            )?;
            __private::set(&mut parameters.seed, &self.seed)?;
            __private::set(&mut parameters.stop, &self.stop)?;
            #[cfg(feature = "capacity")]
            __private::set(&mut parameters.capacity_factor, &self.capacity_factor)?;
            __private::set(&mut parameters.do_sample, &self.do_sample)?;
            __private::Ok(())
        }
    }
    #[automatically_derived]
    impl<'a, T: Send + Sync, const N: usize> __private::Declared for Poet<'a, T, N>
    where
        T: Clone,
        for<'declared> [&'a T; N]: ::core::default::Default,
    {
        fn declared() -> Self {
            Self {
                temperature: 1.0,
                seed: __private::None,
                stop: ::core::convert::From::from([
                    ::core::convert::Into::into("\n\n"),
                    ::core::convert::Into::into("END"),
                ]),
                #[cfg(feature = "capacity")]
                capacity_factor: __private::Some(1.25),
                do_sample: true,
                lines: ::core::default::Default::default(),
                #[cfg(feature = "rhymes")]
                rhymes: ::core::default::Default::default(),
            }
        }
    }
    #[automatically_derived]
    impl<'a, T: Send + Sync, const N: usize> __private::LoadableAsPart for Poet<'a, T, N>
    where
        T: Clone,
        for<'declared> Poet<'a, T, N>: __private::Declared + __private::Stages + 'static,
    {
        type This = Self;
    }
    #[automatically_derived]
    impl<'a, T: Send + Sync, const N: usize> __private::Preprocess for Poet<'a, T, N>
    where
        T: Clone,
    {
        fn preprocess(
            &self,
            call: &__private::CallOf<'_, Self>,
            inputs: __private::Vec<__private::InputOf<Self>>,
        ) -> __private::Result<__private::PreparedOf<Self>> {
            __private::declared::preprocess::<Self>(call, inputs)
        }
    }
    #[automatically_derived]
    impl<'a, T: Send + Sync, const N: usize> __private::Route for Poet<'a, T, N>
    where
        T: Clone,
    {
        fn route(
            &self,
            call: &__private::CallOf<'_, Self>,
            prepared: &__private::PreparedOf<Self>,
        ) -> __private::Result<__private::PlanOf<Self>> {
            (self::route)(self, call, prepared)
        }
    }
    #[allow(dead_code)]
    fn custom_infer<'a, T: Send + Sync, const N: usize>(_: &Poet<'a, T, N>)
    where
        T: Clone,
    {
        fn required<D: __private::Infer>() {}
        required::<Poet<'a, T, N>>();
    }
    #[allow(dead_code)]
    fn custom_format<'a, T: Send + Sync, const N: usize>(_: &Poet<'a, T, N>)
    where
        T: Clone,
    {
        fn required<D: __private::Format>() {}
        required::<Poet<'a, T, N>>();
    }
};
