//! The rules of the stages.

use pipeline_schema::suggest;
use proc_macro2::Ident;

use crate::error::Errors;
use crate::model::{Stage, StageBody, StageName};
use crate::parse::Arguments;

/// The four stages, each done by the architecture, by a function or by an impl of the user's.
pub(super) fn stages(arguments: &Arguments, errors: &mut Errors) -> [Stage; 4] {
    let mut custom: Vec<(StageName, &Ident)> = Vec::new();
    for word in &arguments.custom {
        let Some(name) = custom_stage(word, errors) else { continue };
        if custom.iter().any(|(other, _)| *other == name) {
            errors.push(word, format!("`{word}` is custom twice; keep one"));
        } else {
            custom.push((name, word));
        }
    }
    StageName::ALL.map(|name| {
        let function = arguments.overrides.iter().find(|entry| entry.stage == name);
        let custom = custom.iter().find(|(stage, _)| *stage == name);
        let body = match (function, custom) {
            (Some(entry), Some((_, word))) => {
                function_or_custom(&entry.key, name, errors);
                StageBody::Custom((*word).clone())
            }
            (Some(entry), None) => StageBody::Function(entry.function.clone()),
            (None, Some((_, word))) => StageBody::Custom((*word).clone()),
            (None, None) => StageBody::Default,
        };
        Stage { name, body }
    })
}

/// `custom` names stages.
fn custom_stage(word: &Ident, errors: &mut Errors) -> Option<StageName> {
    let text = word.to_string();
    let stage = StageName::ALL.into_iter().find(|stage| stage.word() == text);
    if stage.is_none() {
        let instead = suggest::instead(&text, StageName::ALL.map(StageName::word));
        errors.push(word, format!("unknown stage `{text}`; {instead}"));
    }
    stage
}

/// A stage is done by a function or by an impl, not by both.
fn function_or_custom(key: &syn::Path, stage: StageName, errors: &mut Errors) {
    let word = stage.word();
    errors.push(key, format!("`{word}` is a function here and also in `custom({word})`; remove one"));
}
