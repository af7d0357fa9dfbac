//! `telemetry:`

use super::fields::Reader;
use super::{Telemetry, connection};
use crate::document::Node;
use crate::problem::codes;

/// What the collector is called where connections have names.
const NAME: &str = "telemetry";

pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Telemetry> {
    let otlp = reader.required_entry(
        node,
        "telemetry",
        "otlp",
        "for example `{ otlp: { url: http://127.0.0.1:4318 } }`",
    )?;
    if let Some(params) = otlp.get("params") {
        reader.error(
            codes::PROJECT_VALUE,
            params.span,
            "the collector has no parameters: nobody supplies them",
            "remove `params`, and write the address out",
        );
        return None;
    }
    Some(Telemetry { otlp: connection::read(reader, NAME, otlp)? })
}
