//! The nearest right word to a wrong one.

/// The candidate nearest to `word`, when it is near enough to be what was meant.
///
/// Near enough is an edit distance of at most a third of the word, and at least one edit.
///
/// ```
/// assert_eq!(pipeline_schema::suggest::nearest("temperatur", ["top_k", "temperature"]), Some("temperature"));
/// assert_eq!(pipeline_schema::suggest::nearest("banana", ["top_k", "temperature"]), None);
/// ```
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let normal = |text: &str| text.to_lowercase().replace('_', "-");
    let word = normal(word);
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &normal(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What to write instead of `word`: ``did you mean `moe`?`` or ``expected one of `cpu`, `cuda` ``.
///
/// ```
/// use pipeline_schema::suggest::instead;
/// assert_eq!(instead("cuad", ["cpu", "cuda"]), "did you mean `cuda`?");
/// assert_eq!(instead("tpu9000", ["cpu", "cuda"]), "expected one of `cpu`, `cuda`");
/// ```
pub fn instead<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, candidates.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => one_of(candidates),
    }
}

/// ``expected one of `a`, `b` ``, or ``expected `a` `` where there is one.
pub fn one_of<'a>(candidates: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = candidates.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [only] => format!("expected {only}"),
        _ => format!("expected one of {}", quoted.join(", ")),
    }
}

/// `` `a` ``, `` `a` and `b` ``, or `` `a`, `b` and `c` ``.
///
/// ```
/// use pipeline_schema::suggest::all_of;
/// assert_eq!(all_of(["moe", "text", "rag"]), "`moe`, `text` and `rag`");
/// assert_eq!(all_of(["moe"]), "`moe`");
/// ```
pub fn all_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => quoted.concat(),
    }
}
