//! "Did you mean".

/// The candidate nearest to what was written, if it is near enough to be meant.
pub(crate) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = crate::signature::fold_name(written);
    let mut best: Option<(&'a str, usize)> = None;
    for candidate in candidates {
        if candidate == written {
            continue;
        }
        let distance = strsim::osa_distance(&folded, &crate::signature::fold_name(candidate));
        if best.is_none_or(|(_, least)| distance < least) {
            best = Some((candidate, distance));
        }
    }
    let allowed = match written.chars().count() {
        0..=2 => 1,
        3..=6 => 2,
        _ => 3,
    };
    // A word of two or three letters must not turn into any other one.
    best.filter(|(candidate, distance)| *distance <= allowed && *distance < candidate.chars().count().max(2))
        .map(|(candidate, _)| candidate)
}

/// "did you mean `x`?", or the list of what there is.
pub(crate) fn help<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    introduction: &str,
) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest(written, candidates.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    if candidates.is_empty() {
        return None;
    }
    Some(format!("{introduction} {}", listing(&candidates)))
}

/// At most twelve names in backticks.
pub(crate) fn listing(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(12).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("biometric", ["biometrics", "name"]), Some("biometrics"));
        assert_eq!(nearest("employeeNo", ["employee_no", "employee"]), Some("employee_no"));
        assert_eq!(nearest("x", ["id"]), None);
        assert_eq!(nearest("photo", ["steps", "run"]), None);
    }
}
