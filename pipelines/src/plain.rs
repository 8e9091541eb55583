//! A pipeline as nearly all are: the impls that the attribute leaves to the compiler to put together.

/// What the attribute makes of a struct that is not generic, whose fields all have a default for certain, with an
/// architecture and a task of the tables that does every stage.
///
/// `impl` and `self` come from the attribute: errors and names are looked for where they do.
#[doc(hidden)]
#[macro_export]
macro_rules! __pipeline {
    (
        $impl:tt $pipeline:ident: $architecture:ident, $task:ident, $name:literal, [$($hardware:ident)*],
        { $($constants:tt)* }
        ($self:ident, $parameters:ident) { $($settings:tt)* }
        { $($values:tt)* }
    ) => {
        #[automatically_derived]
        $impl $crate::Declaration for $pipeline {
            type Architecture = $crate::arch::$architecture;
            type Task = $crate::task::$task;

            const NAME: &'static $crate::__private::str = $name;
            const HARDWARE: &'static [$crate::Hardware] = &[$($crate::Hardware::$hardware),*];
            $($constants)*

            fn configure(&$self, $parameters: &mut $crate::ParametersOf<Self>) -> $crate::Result<()> {
                $($settings)*
                $crate::__private::Ok(())
            }
        }

        #[automatically_derived]
        $impl $crate::Declared for $pipeline {
            fn declared() -> Self {
                Self { $($values)* }
            }
        }

        #[automatically_derived]
        $impl $crate::parts::LoadableAsPart for $pipeline {
            type This = Self;
        }

        #[automatically_derived]
        $impl $crate::Preprocess for $pipeline {
            fn preprocess(
                &self,
                call: &$crate::CallOf<'_, Self>,
                inputs: $crate::__private::Vec<$crate::InputOf<Self>>,
            ) -> $crate::Result<$crate::PreparedOf<Self>> {
                $crate::declared::preprocess::<Self>(call, inputs)
            }
        }

        #[automatically_derived]
        $impl $crate::Route for $pipeline {
            fn route(
                &self,
                call: &$crate::CallOf<'_, Self>,
                prepared: &$crate::PreparedOf<Self>,
            ) -> $crate::Result<$crate::PlanOf<Self>> {
                $crate::declared::route::<Self>(call, prepared)
            }
        }

        #[automatically_derived]
        $impl $crate::Infer for $pipeline {
            fn infer(
                &self,
                call: &$crate::CallOf<'_, Self>,
                prepared: $crate::PreparedOf<Self>,
                plan: $crate::PlanOf<Self>,
            ) -> $crate::Result<$crate::RawOf<Self>> {
                $crate::declared::infer::<Self>(call, prepared, plan)
            }
        }

        #[automatically_derived]
        $impl $crate::InfersByDefault for $pipeline {}

        #[automatically_derived]
        $impl $crate::Format for $pipeline {
            type Output = $crate::OutputOf<Self>;

            fn format(
                &self,
                call: &$crate::CallOf<'_, Self>,
                raw: $crate::RawOf<Self>,
            ) -> $crate::Result<$crate::__private::Vec<Self::Output>> {
                $crate::declared::format::<Self>(call, raw)
            }
        }
    };
}
