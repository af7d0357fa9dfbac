//! `*` and `?` in names of files.

/// Whether the whole name matches: `*` is any text, `?` one character. A name that begins with a dot is matched only by
/// a pattern that does: programs write such files before they give them their names.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where the last `*` stands, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(c) if *c == '?' || name.get(of) == Some(c) => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((before, taken)) = star else { return false };
                star = Some((before, taken + 1));
                at = before + 1;
                of = taken + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name) in [
            ("*", "people.csv"),
            ("*.csv", "people.csv"),
            ("p*e*.csv", "people.csv"),
            ("people-??.csv", "people-07.csv"),
            ("*a*b", "xaxbxb"),
            (".*", ".hidden"),
            ("Ş*", "Şükran"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.csv", "people.csv.part"),
            ("*", ".people.csv"),
            ("?", ""),
            ("a?", "a"),
            ("", "a"),
            ("*a*b", "xaxbxbc"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(40);
        assert!(!matches(
            &pattern,
            &"a".repeat(2000).replace("aaaaaaaa", "aaaaaaab")[..1999].replace('a', "b")
        ));
    }
}
