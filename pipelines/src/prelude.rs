//! What a program that declares pipelines needs: `use pipelines::prelude::*;`.

pub use crate::error::{Error, Result};
pub use crate::pipeline;
pub use crate::pipeline::Pipeline;
pub use crate::stage::{
    CallOf, Declaration, DeltaOf, Format, Infer, InputOf, OutputOf, ParametersOf, PlanOf, PreparedOf,
    Preprocess, RawOf, Route,
};
pub use crate::{DType, Hardware, task};
