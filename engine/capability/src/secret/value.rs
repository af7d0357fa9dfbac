use std::fmt;

use zeroize::Zeroizing;

/// A password, key or token. It has no `Display` and no `Serialize`, its `Debug` says nothing, and its memory is
/// overwritten when it is dropped.
///
/// ```compile_fail
/// println!("{}", bascule_capability::secret::Secret::new("hunter2hunter2"));
/// ```
/// ```compile_fail
/// serde_json::to_string(&bascule_capability::secret::Secret::new("hunter2hunter2"));
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. The only way to it: whoever calls this keeps it out of logs, errors and plugins.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_says_nothing_not_even_the_length() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
        assert_eq!(format!("{:#?}", Some(Secret::new(""))), "Some(\n    Secret(..),\n)");
    }
}
