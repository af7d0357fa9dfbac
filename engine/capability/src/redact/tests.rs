use std::io::Write;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn knowing(secrets: &[&str]) -> Redactor {
    let redactor = Redactor::default();
    for secret in secrets {
        redactor.add(&Secret::new(*secret));
    }
    redactor
}

#[test]
fn without_secrets_texts_pass_as_they_are() {
    let redactor = Redactor::default();
    assert!(matches!(redactor.redact("anything"), Cow::Borrowed("anything")));
    let mut value = json!({"a": ["b", 1]});
    redactor.redact_json(&mut value);
    assert_eq!(value, json!({"a": ["b", 1]}));
}

#[test]
fn each_form_of_a_secret_is_struck() {
    let secret = "p\"s/s w&r<d+'ü\\9~";
    let redactor = knowing(&[secret]);
    let json =
        serde_json::to_string(secret).map(|text| text.trim_matches('"').to_owned()).unwrap_or_default();
    let forms = [
        secret.to_owned(),
        STANDARD.encode(secret),
        STANDARD.encode(secret).trim_end_matches('=').to_owned(),
        URL_SAFE_NO_PAD.encode(secret),
        "p%22s%2Fs%20w%26r%3Cd%2B%27%C3%BC%5C9~".to_owned(),
        "p%22s%2fs%20w%26r%3cd%2b%27%c3%bc%5c9~".to_owned(),
        "p%22s%2Fs+w%26r%3Cd%2B%27%C3%BC%5C9%7E".to_owned(),
        "p%22s/s%20w&r%3Cd+'%C3%BC%5C9~".to_owned(),
        hex::encode(secret),
        hex::encode_upper(secret),
        json.clone(),
        "p\\\"s\\/s w&r<d+'ü\\\\9~".to_owned(),
        "p\\\"s/s w&r<d+'\\u00fc\\\\9~".to_owned(),
        serde_json::to_string(&json).map(|text| text.trim_matches('"').to_owned()).unwrap_or_default(),
        format!("{secret:?}").trim_matches('"').to_owned(),
        "p&quot;s/s w&amp;r&lt;d+&apos;ü\\9~".to_owned(),
    ];
    for form in forms {
        assert_eq!(redactor.redact(&format!("before {form} after")), "before [redacted] after", "{form}");
    }
    let ascii = knowing(&["canary-0001"]);
    let wide: String = "canary-0001".chars().flat_map(|c| [c, '\0']).collect();
    assert_eq!(ascii.redact(&format!("<{wide}>")), "<[redacted]>");
}

#[test]
fn a_secret_inside_longer_base64_is_struck_at_every_offset() {
    let secret = "canary-4711-secret";
    let redactor = knowing(&[secret]);
    for before in ["", "a", "ab", "abc", "admin:", "{\"key\":\""] {
        for after in ["", "x", "xy", "\"}"] {
            let encoded = STANDARD.encode(format!("{before}{secret}{after}"));
            let clean = redactor.redact(&encoded).into_owned();
            assert!(clean.contains(MARK), "{before}|{after}: {clean}");
            assert!(clean.replace(MARK, "").len() <= encoded.len() - 20, "{before}|{after}: {clean}");
        }
    }
}

#[test]
fn basic_credentials_and_ha1_are_struck() {
    let redactor = Redactor::default();
    redactor.add_basic("admin", &Secret::new("12345"));
    assert_eq!(redactor.redact("Basic YWRtaW46MTIzNDU="), "Basic [redacted]");
    assert_eq!(redactor.redact("pw 12345."), "pw [redacted].");
    redactor.add_ha1(&Secret::new("939e7578ed9e3c518a452acee763bce9"));
    assert_eq!(redactor.redact("939e7578ed9e3c518a452acee763bce9"), MARK);
    assert_eq!(redactor.redact("939E7578ED9E3C518A452ACEE763BCE9"), MARK);
}

#[test]
fn short_values_are_not_looked_for() {
    let redactor = knowing(&["", "a", "abc"]);
    assert_eq!(redactor.redact("abc"), "abc");
    redactor.add(&Secret::new("abcd"));
    assert_eq!(redactor.redact("abc abcd"), "abc [redacted]");
}

#[test]
fn secrets_that_overlap_are_struck_together() {
    let redactor = knowing(&["secretABCD", "ABCDsecond", "inner", "outer-inner-outer"]);
    assert_eq!(redactor.redact("<secretABCDsecond>"), "<[redacted]>");
    assert_eq!(redactor.redact("<outer-inner-outer>"), "<[redacted]>");
    assert_eq!(redactor.redact("an inner one"), "an [redacted] one");
}

#[test]
fn a_secret_added_later_is_struck_from_then_on() {
    let redactor = knowing(&["first-secret"]);
    let clone = redactor.clone();
    assert_eq!(clone.redact("second-secret"), "second-secret");
    redactor.add(&Secret::new("second-secret"));
    assert_eq!(clone.redact("second-secret"), MARK);
}

#[test]
fn json_is_redacted_in_texts_keys_and_numbers() {
    let redactor = knowing(&["canary-1", "48151623"]);
    let mut value = json!({
        "first": "x canary-1 y",
        "canary-1": [{"deep": "canary-1"}, null, true, 1.5],
        "pin": 48_151_623,
    });
    redactor.redact_json(&mut value);
    let text = value.to_string();
    assert_eq!(
        text,
        r#"{"first":"x [redacted] y","[redacted]":[{"deep":"[redacted]"},null,true,1.5],"pin":"[redacted]"}"#
    );
}

#[test]
fn debug_says_nothing() -> std::io::Result<()> {
    let redactor = knowing(&["canary-1"]);
    assert_eq!(format!("{redactor:?}"), "Redactor(..)");
    let mut writer = RedactingWriter::new(Sink::default(), redactor);
    writer.write_all(b"kept back")?;
    assert_eq!(format!("{writer:?}"), "RedactingWriter(..)");
    Ok(())
}

/// Collects what is written, also after the writer is gone.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(data)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_secret_cut_over_several_writes_is_struck() -> std::io::Result<()> {
    let sink = Sink::default();
    let mut writer = RedactingWriter::new(sink.clone(), knowing(&["canary-1"]));
    writer.write_all(b"one can")?;
    writer.flush()?;
    assert_eq!(sink.text(), "");
    writer.write_all(b"ary-1 two\nthree cana")?;
    assert_eq!(sink.text(), "one [redacted] two\n");
    writer.write_all(b"ry-1")?;
    drop(writer);
    assert_eq!(sink.text(), "one [redacted] two\nthree [redacted]");
    Ok(())
}

#[test]
fn an_endless_line_is_passed_on_in_pieces_without_its_secrets() -> std::io::Result<()> {
    let sink = Sink::default();
    let mut writer = RedactingWriter::new(sink.clone(), knowing(&["canary-1"]));
    let mut expected = String::new();
    for number in 0..20_000 {
        writer.write_all(format!("{number} canary-").as_bytes())?;
        assert!(writer.line.len() < 2 * super::writer::MAX_LINE_BYTES, "{}", writer.line.len());
        writer.write_all(b"1,")?;
        expected.push_str(&format!("{number} [redacted],"));
    }
    assert!(!sink.text().is_empty(), "nothing was passed on yet");
    drop(writer);
    assert_eq!(sink.text(), expected);
    Ok(())
}

#[test]
fn a_pem_file_is_struck_line_by_line() -> std::io::Result<()> {
    let pem = "-----BEGIN KEY-----\nQ2FuYXJ5Q2FuYXJ5Q2FuYXJ5\nTW9yZU1vcmVNb3JlTW9yZQ==\n-----END KEY-----\n";
    let sink = Sink::default();
    let mut writer = RedactingWriter::new(sink.clone(), knowing(&[pem]));
    writer.write_all(pem.as_bytes())?;
    drop(writer);
    assert!(!sink.text().contains("Q2Fu") && !sink.text().contains("TW9y"), "{}", sink.text());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_secret_survives_wherever_it_stands(
        secrets in prop::collection::vec("\\PC{4,12}", 1..4),
        around in prop::collection::vec("\\PC{0,6}", 5),
        cut in 1usize..9,
    ) {
        let redactor = Redactor::default();
        for secret in &secrets {
            redactor.add(&Secret::new(secret.as_str()));
        }
        let mut text = around[0].clone();
        for (secret, after) in secrets.iter().zip(&around[1..]) {
            text.push_str(secret);
            text.push_str(after);
        }
        // The mark itself may complete a secret made of its letters; no such secret is a secret.
        prop_assume!(secrets.iter().all(|secret| !MARK.contains(secret.as_str())));
        let clean = redactor.redact(&text);
        for part in clean.split(MARK) {
            for secret in &secrets {
                prop_assert!(!part.contains(secret.as_str()), "{part:?}");
            }
        }
        let sink = Sink::default();
        let mut writer = RedactingWriter::new(sink.clone(), redactor.clone());
        for piece in text.as_bytes().chunks(cut) {
            writer.write_all(piece).map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
        drop(writer);
        prop_assert_eq!(sink.text(), clean);
    }
}
