//! What somebody may have meant who wrote something else.

/// The candidate nearest to `word`, if one is near: at most a third of its
/// letters wrong, swapped, missing or too many, but not all of them.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Distances cost the product of both lengths; nothing so long is a slip.
    const LONGEST: usize = 80;
    if word.len() > LONGEST {
        return None;
    }
    let distance = |candidate: &str| {
        let distance = strsim::damerau_levenshtein(&word.to_lowercase(), candidate);
        let length = candidate.chars().count();
        let near = distance <= length.div_ceil(3) && distance < length.max(word.chars().count());
        near.then_some(distance)
    };
    let near = candidates.into_iter().filter_map(|c| Some((distance(c)?, c)));
    near.min().map(|(_, candidate)| candidate)
}

/// `a, b and c`, each in backquotes; the first few, if there are many.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.len() > SHOWN {
        let more = names.len() - SHOWN;
        names.truncate(SHOWN);
        names.push(format!("{more} more"));
    }
    match names.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
    }
}
