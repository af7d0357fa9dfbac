//! Bodies that are streamed between a folder and the server.

use bascule_sdk::{Body, DownloadOptions, Downloaded, Error, Files, Part};

use crate::ask::{Ask, fields};
use crate::bindings::exports::bascule::web::files::File;
use crate::bindings::exports::bascule::web::requests::Answer;
use crate::verdict::{self, Asked, Expected};

/// What becomes of a file of that name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Keep,
}

/// Stores the answer in the folder.
pub(crate) fn download(
    server: &dyn Files,
    ask: &Ask<'_>,
    name: &str,
    existing: Existing,
    expected_bytes: Option<u64>,
) -> Result<File, Error> {
    let request = ask.request()?;
    let asked = Asked::of(&request);
    let options = DownloadOptions {
        expected_bytes,
        answer_prefixes: Vec::new(),
        overwrite: existing == Existing::Replace,
        resume: false,
    };
    match server.download(request, name, &options)? {
        Downloaded::Stored(transfer) => Ok(File {
            name: transfer.name,
            bytes: transfer.bytes,
            sha256: transfer.sha256,
            content_type: transfer.content_type,
        }),
        Downloaded::Answered(response) => Err(verdict::refusal(&response, &asked)),
    }
}

/// A file on its way out.
pub(crate) struct Sent<'a> {
    pub(crate) name: &'a str,
    pub(crate) content_type: Option<String>,
    pub(crate) field: Option<String>,
    pub(crate) form: Option<String>,
}

/// Sends the file as the whole body or inside a form.
pub(crate) fn upload(
    server: &dyn Files,
    ask: &Ask<'_>,
    sent: &Sent<'_>,
    expect: Option<Vec<String>>,
) -> Result<Answer, Error> {
    let expected = Expected::read(expect)?;
    let mut request = ask.request()?;
    let content_type = sent.content_type.as_deref().unwrap_or("application/octet-stream");
    request.body = match &sent.field {
        None if sent.form.is_some() => {
            return Err(Error::invalid_input("`form` needs `field`: the form's field that holds the file"));
        }
        None => Body::File(content_type.to_owned()),
        Some(field) => {
            let others = fields(sent.form.as_deref(), "form")?.into_iter();
            let mut parts: Vec<Part> = others
                .map(|other| Part { content_type: None, ..Part::bytes(other.name, "", other.value) })
                .collect();
            let file_name = sent.name.rsplit('/').next().unwrap_or(sent.name);
            parts.push(Part::file(field, file_name, content_type));
            Body::Multipart(parts)
        }
    };
    let asked = Asked::of(&request);
    verdict::answer(server.upload(request, sent.name)?, &asked, &expected)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer, answer_with};
    use bascule_sdk::{ErrorKind, Method};

    use super::*;

    #[test]
    fn a_file_is_stored_and_an_error_is_not() {
        let script = Script::new()
            .then("GET /reports/7.pdf?v=2", answer_with(200, &[("Content-Type", "application/pdf")], "%PDF"))
            .then("GET /reports/8.pdf", answer(404, "no such report"));
        let ask = Ask { query: Some(r#"{"v":2}"#.into()), ..Ask::new(Method::Get, "/reports/7.pdf") };
        let file = download(&script, &ask, "7.pdf", Existing::Keep, None).unwrap();
        assert_eq!((file.bytes, file.content_type.as_deref()), (4, Some("application/pdf")));
        let ask = Ask::new(Method::Get, "/reports/8.pdf");
        let error = download(&script, &ask, "8.pdf", Existing::Replace, Some(4)).unwrap_err();
        assert_eq!((error.kind, script.stored("8.pdf")), (ErrorKind::NotFound, None));
    }

    #[test]
    fn a_file_is_sent_whole_or_inside_a_form() {
        let script = Script::new()
            .file("a/7.pdf", "%PDF")
            .then("PUT /reports/7", answer(201, r#"{"id":7}"#))
            .then("POST /reports", answer(500, "no"));
        let pdf = || Some("application/pdf".to_owned());
        let whole = Sent { name: "a/7.pdf", content_type: pdf(), field: None, form: None };
        let stored = upload(&script, &Ask::new(Method::Put, "/reports/7"), &whole, None).unwrap();
        assert_eq!((stored.status, stored.json.as_str()), (201, r#"{"id":7}"#));
        let form = Sent { field: Some("file".into()), form: Some(r#"{"kind":"daily"}"#.into()), ..whole };
        let error = upload(&script, &Ask::new(Method::Post, "/reports"), &form, None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy);
        assert_eq!(script.body(0), "(file) [application/pdf]");
        assert_eq!(script.body(1), "kind []: daily\nfile as 7.pdf [application/pdf]: (file)\n");
        let without = Sent { name: "x", content_type: None, field: None, form: Some("{}".into()) };
        assert!(upload(&Script::new(), &Ask::new(Method::Post, "/r"), &without, None).is_err());
    }
}
