//! What stands behind each code: `bascule explain WF012`.
//!
//! A code is registered once, with `catalog!`; the constant that the checks use and the text for people come from the
//! same lines. A new area (such as `bascule.yaml`) adds a file with its own `catalog!` and a line in [`all`].

mod calls;
mod cases;
mod document;
mod expressions;
mod project;
mod steps;
mod triggers;

use super::Code;

/// What the catalog says about a code. The examples are parts of a workflow file and are themselves tested.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// `WF012`
    pub code: &'static str,
    /// A few words.
    pub title: &'static str,
    /// Why it is a problem and what to do.
    pub explanation: &'static str,
    /// An example that has the problem.
    pub wrong: &'static str,
    /// The same, mended.
    pub right: &'static str,
}

macro_rules! catalog {
    ($($(#[$attribute:meta])* $name:ident = $code:literal, $title:literal, $explanation:literal,
        wrong: $wrong:literal, right: $right:literal;)+) => {
        $(
            #[doc = concat!("`", $code, "`: ", $title, ".")]
            $(#[$attribute])*
            pub const $name: $crate::problem::Code = $crate::problem::Code(&$crate::problem::catalog::Entry {
                code: $code,
                title: $title,
                explanation: $explanation,
                wrong: $wrong,
                right: $right,
            });
        )+
        pub(in crate::problem) const ALL: &[$crate::problem::Code] = &[$($name),+];
    };
}
use catalog;

/// Every code as a constant.
pub mod codes {
    pub use super::calls::codes::*;
    pub use super::cases::codes::*;
    pub use super::document::codes::*;
    pub use super::expressions::codes::*;
    pub use super::project::codes::*;
    pub use super::steps::codes::*;
    pub use super::triggers::codes::*;
}

/// Every code, by number.
#[must_use]
pub fn all() -> Vec<Code> {
    let mut all = [
        document::codes::ALL,
        steps::codes::ALL,
        calls::codes::ALL,
        cases::codes::ALL,
        expressions::codes::ALL,
        triggers::codes::ALL,
        project::codes::ALL,
    ]
    .concat();
    all.sort_by_key(|code| code.name());
    all
}

/// What there is to say about a code; `wf012` is `WF012`.
#[must_use]
pub fn explain(code: &str) -> Option<&'static Entry> {
    all().into_iter().find(|known| known.name().eq_ignore_ascii_case(code.trim())).map(Code::entry)
}

/// True for warnings about how a value is written, which an error at the same place makes needless.
pub(super) fn is_about_writing(code: Code) -> bool {
    [codes::LEADING_ZEROS, codes::BOOLEAN_WORD, codes::SEXAGESIMAL, codes::LONG_NUMBER].contains(&code)
}

#[cfg(test)]
mod tests;
