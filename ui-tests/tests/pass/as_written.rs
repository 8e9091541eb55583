use pipelines::prelude::*;

/// What stands around `#[pipeline]` and on the fields stays.
#[derive(Clone, Debug, PartialEq, Default)]
#[pipeline(arch = moe)]
#[must_use]
#[non_exhaustive]
pub struct Above {
    /// Documented.
    #[param(default = 0.8)]
    #[doc(alias = "heat")]
    pub temperature: f32,
    #[cfg(any())]
    #[param(default = 1)]
    top_k: NoSuchType,
    #[cfg(any())]
    own: NoSuchType,
}

macro_rules! declare {
    ($name:ident, $arch:expr, $default:literal, $ty:ty) => {
        #[pipeline(arch = $arch, hardware = [cpu])]
        struct $name {
            #[param(default = $default)]
            temperature: $ty,
        }
    };
}

declare!(Declared, "moe", 0.5, f32);

fn main() {
    assert_eq!(Above { temperature: 0.8 }, Above { temperature: 0.8 }.clone());
    assert_eq!(<Declared as pipelines::Declared>::declared().temperature, 0.5);
}
