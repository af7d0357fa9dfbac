//! Which names a folder takes.

use bascule_workflow::failure::{Failure, Kind};

/// Names that start so belong to files that are still being written.
pub(super) const TEMPORARY_PREFIX: &str = ".bascule-part-";
/// Those among them that stay when their writer ends, so that another one goes on with them.
pub(super) const KEPT_PREFIX: &str = ".bascule-part-kept-";

/// Most bytes of one part of a name: the limit of the usual file systems.
const MAX_PART_BYTES: usize = 255;
/// Most bytes of a name with all its parts.
pub(super) const MAX_NAME_BYTES: usize = 1024;

/// A name inside a folder: relative, `/` between its parts, none of them special.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileName(String);

impl FileName {
    pub(super) fn parse(name: &str) -> Result<Self, Failure> {
        check(name)?;
        Ok(Self(name.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder part (`""` at the root) and the last part.
    pub(super) fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

/// Checks what `list` is given: `""`, or the beginning of a name, which may end in the middle of a part.
pub(super) fn check_prefix(prefix: &str) -> Result<(), Failure> {
    if prefix.is_empty() {
        return Ok(());
    }
    check(prefix.strip_suffix('/').unwrap_or(prefix))
}

fn check(name: &str) -> Result<(), Failure> {
    let refused = |why: &str| {
        let shown: String = name.chars().take(80).collect::<String>().escape_debug().collect();
        Err(Failure::new(Kind::Refused, format!("the file name `{shown}` {why}")))
    };
    if name.is_empty() {
        return refused("is empty");
    }
    if name.len() > MAX_NAME_BYTES {
        return refused(&format!("is longer than {MAX_NAME_BYTES} bytes"));
    }
    if name.starts_with('/') {
        return refused("is absolute: names are relative to the folder");
    }
    if name.chars().any(char::is_control) {
        return refused("contains a control character");
    }
    if name.contains('\\') {
        return refused("contains a backslash: write `/` between the parts of a name");
    }
    for part in name.split('/') {
        match part {
            "" => return refused("has an empty part"),
            "." => return refused("contains the part `.`"),
            ".." => return refused("contains `..`, which leads out of the folder"),
            _ if part.len() > MAX_PART_BYTES => {
                return refused(&format!("has a part of more than {MAX_PART_BYTES} bytes"));
            }
            _ if part.starts_with(TEMPORARY_PREFIX) => {
                return refused(&format!(
                    "starts with `{TEMPORARY_PREFIX}`, which is kept for unfinished files"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        for name in ["a", "a/b.mp4", "Büro 3/Kamera – Tür.jpg", ".hidden", "a..b", "...", "C:", "-rf", "~"]
        {
            assert_eq!(FileName::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(FileName::parse("a/b/c").unwrap().split(), ("a/b", "c"));
        assert_eq!(FileName::parse("c").unwrap().split(), ("", "c"));
    }

    #[test]
    fn every_other_name_is_refused_with_a_sentence() {
        let long_part = "x".repeat(256);
        let long = vec!["abc"; 300].join("/");
        for (name, why) in [
            ("", "is empty"),
            ("/etc/passwd", "absolute"),
            ("..", "leads out"),
            ("../x", "leads out"),
            ("a/../../x", "leads out"),
            ("a/..", "leads out"),
            (".", "part `.`"),
            ("a/./b", "part `.`"),
            ("a//b", "empty part"),
            ("a/", "empty part"),
            ("a\0b", "control"),
            ("a\nb", "control"),
            ("a\u{7f}", "control"),
            ("a\u{85}", "control"),
            ("..\\x", "backslash"),
            (long_part.as_str(), "more than 255 bytes"),
            (long.as_str(), "longer than 1024 bytes"),
            (".bascule-part-1", "unfinished"),
            ("a/.bascule-part-1", "unfinished"),
        ] {
            let failure = FileName::parse(name).unwrap_err();
            assert_eq!(failure.kind, Kind::Refused, "{name:?}");
            assert!(failure.message.contains(why), "{name:?}: {}", failure.message);
            assert!(failure.message.chars().all(|c| !c.is_control()), "{name:?}");
        }
    }

    #[test]
    fn a_prefix_may_end_anywhere_but_leads_nowhere_else() {
        for prefix in ["", "a", "a/", "a/b"] {
            check_prefix(prefix).unwrap();
        }
        for prefix in ["/", "..", "../", "a/../b", "a//"] {
            assert!(check_prefix(prefix).is_err(), "{prefix:?}");
        }
    }
}
