//! `tls:`

use super::Tls;
use super::address::Address;
use super::fields::Reader;
use crate::document::{Entry, Node};
use crate::problem::{Problem, codes};

pub(super) fn read(reader: &mut Reader<'_>, node: &Node, address: Option<&Address>) -> Tls {
    let mut tls = Tls::default();
    if let Some(scalar) = node.as_scalar() {
        let text = scalar.text.as_str();
        if matches!(text, "off" | "no" | "false" | "none" | "insecure") {
            reader.verification(node.span, &format!("tls: {text}"));
            return tls;
        }
    }
    let entries = reader.known(node, "connections.tls");
    if let Some(entry) = entries.first()
        && address.is_some_and(|address| address.encrypted == Some(false))
    {
        reader.report(
            Problem::warning(
                codes::PROJECT_TLS,
                entry.key.span,
                "`tls` has no effect: the `url` begins with `http:`",
            )
            .help("write `https:`, or remove `tls`"),
        );
    }
    for Entry { key, value } in &entries {
        match key.text.as_str() {
            "pin" => {
                for item in reader.items(value, "`pin`", "[sha256:.., sha256:..]") {
                    read_pin(reader, item, &mut tls);
                }
            }
            _ => tls.ca_file = reader.file_path(value, "`ca`"),
        }
    }
    if let Some(entry) = entries.iter().find(|entry| entry.key.text == "ca")
        && node.get("pin").is_some()
    {
        reader.error(
            codes::PROJECT_TLS,
            entry.key.span,
            "`ca` beside `pin` is never asked",
            "keep one: a pin for a single device, an authority for many",
        );
    }
    tls
}

fn read_pin(reader: &mut Reader<'_>, node: &Node, tls: &mut Tls) {
    let Some(text) = reader.plain(node, "`pin`") else {
        return;
    };
    if text == "stored" {
        tls.stored_pin = true;
        return;
    }
    let (prefix, digits) =
        text.split_once("sha256:").map_or((None, text.as_str()), |(before, digits)| (Some(before), digits));
    let digits: String = digits.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
    let hexadecimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if prefix == Some("") && hexadecimal && digits.len() == 64 {
        tls.pins.push(format!("sha256:{digits}"));
        return;
    }
    let help = match digits.len() {
        64 if hexadecimal => "write `sha256:` in front of it",
        40 if hexadecimal => {
            "this is a SHA-1 fingerprint; the SHA-256 is needed: `bascule connection pin NAME` shows it"
        }
        _ => "write `stored`, and `bascule connection pin NAME` keeps the device's fingerprint",
    };
    reader.error(
        codes::PROJECT_TLS,
        node.span,
        "a pin is `stored`, or `sha256:` and 64 hexadecimal digits",
        help,
    );
}
