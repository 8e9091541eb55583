//! Second step: what a declaration means. `expand` sees this and nothing else.

use pipeline_schema::{ArchitectureSpec, DType, Hardware, TaskSpec};
use proc_macro2::{Ident, Span, TokenStream};
use syn::{Attribute, Expr, ItemStruct, LitBool, LitStr, Member, Path, Type};

/// A declaration in which no rule is broken.
pub(crate) struct Pipeline {
    pub(crate) outline: Outline,
    pub(crate) hardware: Vec<Hardware>,
    pub(crate) model: Option<Model>,
    pub(crate) dtype: Option<DType>,
    pub(crate) parts: Vec<Part>,
    pub(crate) fields: Vec<Field>,
}

/// As much of a declaration as can be told in spite of mistakes in the rest.
pub(crate) struct Outline {
    /// The struct as written, without `#[param]`; without fields where they cannot be read.
    pub(crate) item: ItemStruct,
    /// The tokens to emit for it.
    pub(crate) written: TokenStream,
    /// Where an editor finds words: what stands in the parentheses of the attribute, and of every `#[param]`.
    pub(crate) words: Vec<TokenStream>,
    pub(crate) crate_path: Path,
    pub(crate) architecture: Architecture,
    pub(crate) task: Task,
    pub(crate) stages: [Stage; 4],
}

pub(crate) enum Architecture {
    Known {
        spec: &'static ArchitectureSpec,
        span: Span,
    },
    /// A type of the user's own.
    Own(Path),
}

pub(crate) enum Task {
    Known {
        spec: &'static TaskSpec,
        span: Span,
    },
    /// A type of the user's own.
    Own(Path),
}

/// A pipeline that is a part of this one.
pub(crate) struct Part {
    /// The field of the architecture's parts.
    pub(crate) name: Ident,
    pub(crate) pipeline: Path,
}

/// A stage and who does it.
pub(crate) struct Stage {
    pub(crate) name: StageName,
    pub(crate) body: StageBody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StageName {
    Preprocess,
    Route,
    Infer,
    Format,
}

pub(crate) enum StageBody {
    /// The architecture.
    Default,
    /// `stage = path::to::function`.
    Function(Path),
    /// `custom(stage)`: an impl of the user's, with the word that promises it.
    Custom(Ident),
}

/// `model = "..."`, read while compiling.
pub(crate) struct Model {
    /// The path as declared, relative to the declaring crate.
    pub(crate) path: LitStr,
    pub(crate) header_hash: u64,
    /// The files that the declaration was checked against, relative to the declaring crate.
    pub(crate) tracked: Vec<String>,
}

pub(crate) struct Field {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) role: Role,
}

/// What a field is for.
pub(crate) enum Role {
    /// The user's own data.
    Own,
    /// An adjustable parameter; without a default it starts as `None`.
    Param(Box<ParamField>),
}

pub(crate) struct ParamField {
    pub(crate) default: Option<Default>,
    pub(crate) range: Option<Range>,
}

/// The value a parameter starts with.
pub(crate) struct Default {
    pub(crate) value: DefaultValue,
    /// The field is an `Option`: the value stands in `Some`.
    pub(crate) optional: bool,
}

pub(crate) enum DefaultValue {
    Number(Expr),
    Boolean(LitBool),
    Text(LitStr),
    TextList {
        texts: Vec<LitStr>,
        span: Span,
    },
    NumberList(Expr),
    /// Any expression: only for an architecture of the user's own, whose parameters no table knows.
    Other(Expr),
}

/// The range that a parameter's value is held to when the pipeline is loaded, both ends included.
pub(crate) struct Range {
    pub(crate) start: Expr,
    pub(crate) end: Expr,
}

impl StageName {
    pub(crate) const ALL: [StageName; 4] =
        [StageName::Preprocess, StageName::Route, StageName::Infer, StageName::Format];

    /// The word in a declaration, and the name of the method.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            StageName::Preprocess => "preprocess",
            StageName::Route => "route",
            StageName::Infer => "infer",
            StageName::Format => "format",
        }
    }

    /// The trait.
    pub(crate) const fn trait_name(self) -> &'static str {
        match self {
            StageName::Preprocess => "Preprocess",
            StageName::Route => "Route",
            StageName::Infer => "Infer",
            StageName::Format => "Format",
        }
    }
}
