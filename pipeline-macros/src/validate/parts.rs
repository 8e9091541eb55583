//! The rules of the parts.
//!
//! Which parts an architecture of the tables takes is a rule that macro and loader share. An architecture of the user's own
//! says so in a type, and what a pipeline does and where it runs stands in types, too: the compiler holds
//! those against each other, in what `expand` makes of the parts.

use pipeline_schema::suggest;

use crate::error::Errors;
use crate::model::{Architecture, Part};
use crate::parse::Arguments;
use crate::parse::keys::{PIPELINE_KEYS, names};

/// The pipelines that are parts of this one, each part named once.
pub(super) fn parts(arguments: &Arguments, architecture: &Architecture, errors: &mut Errors) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for part in &arguments.parts {
        let name = &part.name;
        if parts.iter().any(|before| before.name == *name) {
            errors.push(name, format!("`{name}` is given twice; keep one"));
        } else if misspelt_key(&name.to_string(), architecture) {
            let instead = suggest::instead(&name.to_string(), names(&PIPELINE_KEYS));
            errors.push(name, format!("unknown key `{name}`; {instead}"));
        } else {
            parts.push(Part { name: name.clone(), pipeline: part.pipeline.clone() });
        }
    }
    parts
}

/// A key with a type is a part, unless the architecture is known not to have it and it is nearly a key; of an
/// architecture of the user's own, which may have any, unless it is nearly a key that takes types.
fn misspelt_key(name: &str, architecture: &Architecture) -> bool {
    match architecture {
        Architecture::Known { spec, .. } => {
            spec.part(name).is_none() && suggest::nearest(name, names(&PIPELINE_KEYS)).is_some()
        }
        Architecture::Own(_) => suggest::nearest(name, ["arch", "task"]).is_some(),
    }
}
