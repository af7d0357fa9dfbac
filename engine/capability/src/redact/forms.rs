//! The forms in which a secret travels.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// A piece of base64 text shorter than this could be anything.
const MIN_INNER_BASE64: usize = 8;
/// A line of a longer secret that is worth looking for by itself.
const MIN_LINE: usize = 8;

/// Every form of `text`, some of them more than once.
pub(super) fn of(text: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let mut add = |form: String| forms.push(form.into_bytes());
    add(text.to_owned());
    base64(text.as_bytes(), &mut add);
    percent(text, &mut add);
    add(hex::encode(text));
    add(hex::encode_upper(text));
    escaped(text, &mut add);
    // A writer that looks at one line at a time never sees a whole PEM file.
    for line in text.lines().map(str::trim).filter(|line| line.len() >= MIN_LINE) {
        add(line.to_owned());
    }
    forms.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    forms
}

fn base64(bytes: &[u8], add: &mut impl FnMut(String)) {
    for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        add(engine.encode(bytes));
    }
    // Inside longer base64 text the secret begins at one of three places of a group; the characters that hold nothing
    // but its own bits are the same whatever stands around it.
    for before in 0..3 {
        let mut shifted = vec![0; before];
        shifted.extend_from_slice(bytes);
        let (first, last) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&shifted);
            if let Some(own) = encoded.get(first..last).filter(|own| own.len() >= MIN_INNER_BASE64) {
                add(own.to_owned());
            }
        }
    }
}

/// Encoders differ in what they leave as it is; each of these sets is somebody's.
fn percent(text: &str, add: &mut impl FnMut(String)) {
    let sets: [&[u8]; 4] = [
        b"",
        // RFC 3986 section 2.3
        b"-._~",
        // JavaScript's encodeURIComponent
        b"-._~!*'()",
        // RFC 3986 section 3.4: what a query may hold
        b"-._~!$&'()*+,;=:@/?",
    ];
    for kept in sets {
        for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
            let mut encoded = String::with_capacity(text.len() * 3);
            for &byte in text.as_bytes() {
                if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
                    encoded.push(char::from(byte));
                } else {
                    encoded.push('%');
                    encoded.push(char::from(digits[usize::from(byte >> 4)]));
                    encoded.push(char::from(digits[usize::from(byte & 15)]));
                }
            }
            add(encoded);
        }
    }
    add(url::form_urlencoded::byte_serialize(text.as_bytes()).collect());
}

fn escaped(text: &str, add: &mut impl FnMut(String)) {
    let json = json(text);
    let ascii = json.chars().fold(String::new(), |mut ascii, c| {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            ascii.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
        ascii
    });
    add(json.replace('/', "\\/"));
    // A JSON text inside a JSON text: a body quoted in a log line.
    add(self::json(&json));
    add(self::json(&ascii));
    add(ascii);
    add(json);
    let debug: String = text.escape_debug().collect();
    add(self::json(&debug));
    add(debug);
    let angles = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    add(angles.replace('"', "&quot;"));
    add(angles.replace('"', "&quot;").replace('\'', "&apos;"));
    add(angles.replace('"', "&quot;").replace('\'', "&#39;"));
    add(angles);
}

/// JSON text without its quotes.
fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}
