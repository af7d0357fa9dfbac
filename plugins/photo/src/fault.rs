//! The errors of this plugin, by code (`wit/plugin.wit` lists them). None of them has changed anything.

use std::fmt::Display;

use bascule_sdk::Error;

/// Something else than a picture; `what` says what it looks like: `an HTML page`.
pub(crate) fn not_a_picture(what: &str) -> Error {
    Error::invalid_input(format!("this file is not a picture, it is {what}")).code("photo:not-a-picture")
}

/// Begins as a picture and cannot be read to its end.
pub(crate) fn damaged(why: impl Display) -> Error {
    Error::invalid_input(format!("the picture is damaged: {why}")).code("photo:damaged")
}

/// A picture, but of a kind that is not read here.
pub(crate) fn unsupported(what: impl Display) -> Error {
    Error::unsupported(format!("this picture is {what}; save it as an ordinary JPEG, PNG or WebP"))
        .code("photo:unsupported")
}

/// Fewer pixels than a face needs.
pub(crate) fn too_small(message: String) -> Error {
    Error::invalid_input(message).code("photo:too-small")
}

/// More than a call can hold.
pub(crate) fn too_large(message: String) -> Error {
    Error::invalid_input(message).code("photo:too-large")
}

/// Nothing within the options stays under the limit of bytes.
pub(crate) fn cannot_fit(message: String) -> Error {
    Error::invalid_input(message).code("photo:cannot-fit")
}
