//! The web page: files that are part of the program, sent as they are. They hold no data; what the page shows it asks the API
//! for, with the token that its user enters.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, StatusCode};
use sha2::{Digest, Sha256};

/// Nothing from elsewhere is loaded, nothing is sent elsewhere, no text becomes script, nobody frames the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($path:literal, $kind:literal, $file:literal;)+) => {
        &[$(File { path: $path, kind: $kind, text: include_str!(concat!("../page/", $file)) }),+]
    };
}

const FILES: &[File] = files! {
    "/", "text/html; charset=utf-8", "index.html";
    "/page.css", "text/css; charset=utf-8", "page.css";
    "/icon.svg", "image/svg+xml", "icon.svg";
    "/app.js", "text/javascript; charset=utf-8", "app.js";
    "/api.js", "text/javascript; charset=utf-8", "api.js";
    "/dom.js", "text/javascript; charset=utf-8", "dom.js";
    "/form.js", "text/javascript; charset=utf-8", "form.js";
    "/overview.js", "text/javascript; charset=utf-8", "overview.js";
    "/runs.js", "text/javascript; charset=utf-8", "runs.js";
    "/run.js", "text/javascript; charset=utf-8", "run.js";
    "/workflows.js", "text/javascript; charset=utf-8", "workflows.js";
    "/recorders.js", "text/javascript; charset=utf-8", "recorders.js";
    "/triggers.js", "text/javascript; charset=utf-8", "triggers.js";
    "/connections.js", "text/javascript; charset=utf-8", "connections.js";
};

/// A route for each file; whoever gets through to the port may have them.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, file| {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(file.text)[..12]));
        router.route(file.path, get(move |headers: HeaderMap| async move { send(file, &tag, &headers) }))
    })
}

fn send(file: &File, tag: &str, headers: &HeaderMap) -> Response {
    let fields: [(HeaderName, &str); 6] = [
        (CONTENT_TYPE, file.kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // Asked for again each time, so that a new version is there at once.
        (CACHE_CONTROL, "no-cache"),
        (ETAG, tag),
    ];
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag);
    if known {
        (StatusCode::NOT_MODIFIED, fields).into_response()
    } else {
        (fields, file.text).into_response()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn asked(path: &str, known: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(known) = known {
            request = request.header(IF_NONE_MATCH, known);
        }
        router::<()>().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn every_file_that_a_file_names_is_there() {
        for file in FILES {
            for word in file.text.split(['"', '\'']) {
                let local =
                    word.strip_prefix("./").or((file.path == "/").then_some(word)).unwrap_or_default();
                if [".js", ".css", ".svg"].iter().any(|ending| local.ends_with(ending)) {
                    let answer = asked(&format!("/{local}"), None).await;
                    assert_eq!(answer.status(), StatusCode::OK, "{} names {local}", file.path);
                }
            }
        }
    }

    #[tokio::test]
    async fn nothing_in_line_and_nothing_from_elsewhere() {
        for file in FILES {
            assert!(!file.text.contains("innerHTML") && !file.text.contains("eval("), "{}", file.path);
            assert!(!file.text.contains("<style") && !file.text.contains("onclick="), "{}", file.path);
        }
        let answer = asked("/", None).await;
        assert!(
            answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'")
        );
    }

    #[tokio::test]
    async fn a_file_that_is_known_is_not_sent_again() {
        let first = asked("/app.js", None).await;
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        assert_eq!(asked("/app.js", Some(&tag)).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(asked("/page.css", Some(&tag)).await.status(), StatusCode::OK);
    }
}
