//! The plugin `web`: any HTTP service that has no plugin of its own (`wit/plugin.wit` is its documentation).
//!
//! `ask` builds requests from what a workflow says, `verdict` tells successes from errors and makes an answer of a response,
//! `files` streams. This file only hands the host's parameters on.

mod ask;
mod files;
mod verdict;

use bascule_sdk::{Connection, Error, Folder, Method, Pace, Shelf};
use bindings::exports::bascule::web::{files as files_api, requests as requests_api};

bascule_sdk::plugin! { world: "bascule:web/plugin@0.1.0", wit: ["wit/plugin.wit"], path: ["../../wit", "wit"] }
bascule_sdk::export!(Plugin);

struct Plugin;

fn send(
    server: &Connection,
    ask: &ask::Ask<'_>,
    expect: Option<Vec<String>>,
) -> Result<requests_api::Answer, Error> {
    let expected = verdict::Expected::read(expect)?;
    let request = ask.request()?;
    let asked = verdict::Asked::of(&request);
    verdict::answer(server.send(&request)?, &asked, &expected)
}

/// The functions whose requests have a body differ by their method alone.
macro_rules! with_body {
    ($($name:ident: $method:ident),+) => {
        $(
            fn $name(
                server: &Connection,
                path: String,
                query: Option<String>,
                headers: Option<String>,
                json: Option<String>,
                form: Option<String>,
                text: Option<String>,
                content_type: Option<String>,
                expect: Option<Vec<String>>,
            ) -> Result<requests_api::Answer, Error> {
                let body = ask::Content { json, form, text, content_type };
                let ask = ask::Ask { query, headers, body, ..ask::Ask::new(Method::$method, &path) };
                send(server, &ask, expect)
            }
        )+
    };
}

impl requests_api::Guest for Plugin {
    fn get(
        server: &Connection,
        path: String,
        query: Option<String>,
        headers: Option<String>,
        expect: Option<Vec<String>>,
    ) -> Result<requests_api::Answer, Error> {
        send(server, &ask::Ask { query, headers, ..ask::Ask::new(Method::Get, &path) }, expect)
    }

    fn delete(
        server: &Connection,
        path: String,
        query: Option<String>,
        headers: Option<String>,
        expect: Option<Vec<String>>,
    ) -> Result<requests_api::Answer, Error> {
        send(server, &ask::Ask { query, headers, ..ask::Ask::new(Method::Delete, &path) }, expect)
    }

    with_body! { post: Post, put: Put, patch: Patch }

    fn send(
        server: &Connection,
        method: requests_api::Method,
        path: String,
        query: Option<String>,
        headers: Option<String>,
        json: Option<String>,
        form: Option<String>,
        text: Option<String>,
        content_type: Option<String>,
        pace: Option<requests_api::Pace>,
        expect: Option<Vec<String>>,
    ) -> Result<requests_api::Answer, Error> {
        let method = match method {
            requests_api::Method::Get => Method::Get,
            requests_api::Method::Head => Method::Head,
            requests_api::Method::Post => Method::Post,
            requests_api::Method::Put => Method::Put,
            requests_api::Method::Patch => Method::Patch,
            requests_api::Method::Delete => Method::Delete,
            requests_api::Method::Options => Method::Options,
        };
        let pace = match pace {
            None | Some(requests_api::Pace::Normal) => Pace::Normal,
            Some(requests_api::Pace::Slow) => Pace::Slow,
            Some(requests_api::Pace::Bulk) => Pace::Bulk,
        };
        let body = ask::Content { json, form, text, content_type };
        send(server, &ask::Ask { query, headers, body, pace, ..ask::Ask::new(method, &path) }, expect)
    }
}

impl files_api::Guest for Plugin {
    fn download(
        server: &Connection,
        path: String,
        query: Option<String>,
        headers: Option<String>,
        folder: &Folder,
        name: String,
        overwrite: Option<bool>,
        expected_bytes: Option<u64>,
    ) -> Result<files_api::File, Error> {
        let ask = ask::Ask { query, headers, pace: Pace::Bulk, ..ask::Ask::new(Method::Get, &path) };
        let existing = if overwrite == Some(true) { files::Existing::Replace } else { files::Existing::Keep };
        files::download(&Shelf { connection: server, folder }, &ask, &name, existing, expected_bytes)
    }

    fn upload(
        server: &Connection,
        folder: &Folder,
        name: String,
        path: String,
        method: Option<files_api::Method>,
        query: Option<String>,
        headers: Option<String>,
        content_type: Option<String>,
        field: Option<String>,
        form: Option<String>,
        expect: Option<Vec<String>>,
    ) -> Result<requests_api::Answer, Error> {
        let method = match method {
            None | Some(files_api::Method::Post) => Method::Post,
            Some(files_api::Method::Put) => Method::Put,
            Some(files_api::Method::Patch) => Method::Patch,
        };
        let ask = ask::Ask { query, headers, pace: Pace::Bulk, ..ask::Ask::new(method, &path) };
        let sent = files::Sent { name: &name, content_type, field, form };
        files::upload(&Shelf { connection: server, folder }, &ask, &sent, expect)
    }
}
