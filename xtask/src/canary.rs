//! Secrets that tests use, and every form in which they must not be found afterwards. They are invented.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use anyhow::Result;
use base64::Engine as _;

/// Secrets by the name under which a project stores them.
pub const CANARIES: [(&str, &str); 9] = [
    ("terminal-password", "demo-Terminal-1!"),
    ("supabase-key", "sb_secret_demo0000000000000000000_00000000"),
    ("wrong-terminal-password", "Not-the-password-9!"),
    ("hcp-key", "21000417"),
    ("hcp-secret", "Wv7Lk2QzTn9RbXe4Ha1C"),
    ("wrong-hcp-secret", "Not-The-Secret-9"),
    ("partner-secret", "Qd8Xs3VnLz6Ku0Wy4JpE"),
    ("backend-key", "school-backend-key-4f7a91c2"),
    ("photo-hook", "a-shared-key-for-the-web-app"),
];

/// A form of a secret.
pub struct Form {
    /// Which secret.
    pub name: &'static str,
    /// Which form.
    pub form: &'static str,
    /// What to look for.
    pub bytes: Vec<u8>,
}

/// Every form of every canary: raw, hexadecimal, base64 at each of the three alignments, percent-encoded, UTF-16.
#[must_use]
pub fn forms() -> Vec<Form> {
    let mut all = Vec::new();
    for (name, secret) in CANARIES {
        let raw = secret.as_bytes();
        let mut add = |form, bytes| all.push(Form { name, form, bytes });
        add("text", raw.to_vec());
        add("hexadecimal", hex::encode(raw).into_bytes());
        add("upper-case hexadecimal", hex::encode_upper(raw).into_bytes());
        add("UTF-16", secret.encode_utf16().flat_map(u16::to_le_bytes).collect());
        add("percent-encoded", percent(secret).into_bytes());
        for skip in 0..3 {
            // Inside a longer text the secret starts at one of three alignments; the first and last characters
            // depend on the neighbours, so they are left out.
            let mut padded = vec![b'x'; skip];
            padded.extend_from_slice(raw);
            let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&padded);
            let start = if skip == 0 { 0 } else { skip + 1 };
            add("base64", text.as_bytes()[start..text.len() - 2].to_vec());
        }
    }
    all
}

/// Looks for all forms at once: one pass over what is looked through, however many there are.
pub struct Sweep {
    forms: Vec<Form>,
    automaton: AhoCorasick,
}

impl Sweep {
    /// For every form of every canary.
    ///
    /// # Errors
    /// When the automaton would be too large.
    pub fn new() -> Result<Self> {
        let forms = forms();
        let automaton = AhoCorasick::new(forms.iter().map(|form| &form.bytes))?;
        Ok(Self { forms, automaton })
    }

    /// How many forms are looked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.forms.len()
    }

    /// True where nothing is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The forms that `haystack` holds, each once; forms may lie within each other.
    #[must_use]
    pub fn hits(&self, haystack: &[u8]) -> Vec<&Form> {
        let found: BTreeSet<usize> =
            self.automaton.find_overlapping_iter(haystack).map(|hit| hit.pattern().as_usize()).collect();
        found.into_iter().map(|place| &self.forms[place]).collect()
    }
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_each_form_wherever_it_stands() -> Result<()> {
        let sweep = Sweep::new()?;
        let secret = CANARIES[0].1;
        for before in ["", "a", "ab", "abc"] {
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{secret}:tail"));
            assert!(!sweep.hits(text.as_bytes()).is_empty(), "{text}");
        }
        assert!(sweep.hits(b"nothing to see").is_empty());
        for form in forms() {
            let haystack = [b"x".as_slice(), &form.bytes, b"y"].concat();
            let hits = sweep.hits(&haystack);
            let same = |hit: &&Form| (hit.name, hit.form) == (form.name, form.form);
            assert!(hits.into_iter().any(|hit| same(&hit)), "{} as {}", form.name, form.form);
        }
        Ok(())
    }
}
