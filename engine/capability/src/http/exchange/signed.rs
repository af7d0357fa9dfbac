//! AK/SK: the headers that sign one request.

use bascule_workflow::failure::Failure;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};

use super::Prepared;
use crate::auth::{aksk, header};
use crate::credential::Source;
use crate::http::connection::Inner;

impl Inner {
    pub(super) async fn signed_headers(
        &self,
        request: &Prepared,
        key: &Source,
        secret: &Source,
        with_md5: bool,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
        let key = self.reveal(key).await?;
        let secret = self.reveal(secret).await?;
        let nonce = uuid::Uuid::new_v4().to_string();
        let timestamp = (self.shared.clock)().as_millisecond().to_string();
        let headers = vec![
            ("x-ca-key", key.expose()),
            ("x-ca-nonce", nonce.as_str()),
            ("x-ca-timestamp", timestamp.as_str()),
        ];
        let md5 = match request.payload.at_hand() {
            Some(body) if with_md5 && !body.is_empty() => Some(aksk::content_md5(body)),
            _ => None,
        };
        let text = |value: Option<&HeaderValue>| {
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let accept = text(request.headers.get(ACCEPT));
        let content_type = text(request.content_type.as_ref().or(request.headers.get(CONTENT_TYPE)));
        let names = aksk::signed_names(&headers);
        let signature = aksk::sign(
            secret.expose(),
            &aksk::string_to_sign(&aksk::Signed {
                method: request.method.name(),
                accept: accept.as_deref(),
                content_md5: md5.as_deref(),
                content_type: content_type.as_deref(),
                date: None,
                headers: headers.clone(),
                path: &request.path,
                query: &request.query_fields,
                form: &request.form_fields,
            }),
        );
        let mut written: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(6);
        let all = headers
            .into_iter()
            .chain([("x-ca-signature-headers", names.as_str()), ("x-ca-signature", signature.as_str())]);
        for (name, value) in all.chain(md5.as_deref().map(|md5| ("content-md5", md5))) {
            written.push((HeaderName::from_static(name), header::sensitive(value, name)?));
        }
        Ok(written)
    }
}
