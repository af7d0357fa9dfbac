//! Where a connection's requests go: scheme, host, port and base path of its `url`.

use bascule_workflow::failure::{Failure, Kind};
use url::Url;

use crate::policy::check_path;

/// An address that requests are put together with.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Scheme, host and port, and the path `/`.
    pub(crate) base: Url,
    /// Without a `/` at its end; empty for none.
    pub(crate) base_path: String,
    /// `http://10.0.0.7:80`
    pub(crate) origin: String,
    /// `10.0.0.7:80`
    pub(crate) authority: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn parse(text: &str, connection: &str) -> Result<Self, Failure> {
        let refuse =
            |why: &str| Failure::new(Kind::InvalidInput, format!("connection `{connection}`: its url {why}"));
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(refuse("has a blank, a backslash or a control character in it"));
        }
        let url = Url::parse(text).map_err(|error| refuse(&format!("is not one: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("must not hold a user or a password: they go into `auth`"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("must not have a query or a fragment"));
        }
        let base_path = url.path().trim_end_matches('/').to_owned();
        // What stands between host and path in the text, before dot segments were taken out of it.
        let written = text.splitn(4, '/').nth(3).map(|path| format!("/{}", path.trim_end_matches('/')));
        if let Some(written) = written.filter(|written| written != "/") {
            check_path(&written)
                .map_err(|fault| refuse(&format!("has a path that is not plain: {fault}")))?;
        }
        Self::of(url, base_path).ok_or_else(|| refuse("has no host or port"))
    }

    /// The same paths at another origin.
    pub(crate) fn moved_to(&self, origin: &Url) -> Option<Self> {
        Self::of(origin.clone(), self.base_path.clone())
    }

    fn of(url: Url, base_path: String) -> Option<Self> {
        let host = url.host_str()?.to_owned();
        let port = url.port_or_known_default()?;
        let authority = format!("{host}:{port}");
        let origin = format!("{}://{authority}", url.scheme());
        let mut base = url;
        base.set_path("/");
        Some(Self { base, base_path, origin, authority, host, port })
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// The whole address of a checked path and an encoded query. An error where the URL library would send anything
    /// else than the text that was checked and signed.
    pub(crate) fn url(&self, path: &str, query: &str) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.set_path(path);
        url.set_query((!query.is_empty()).then_some(query));
        let same_query = url.query().unwrap_or_default() == query;
        if url.path() != path || !same_query || url.host_str() != self.base.host_str() {
            return Err(Failure::new(Kind::Refused, "the path would not be sent as it stands".to_owned())
                .with_code("host:path"));
        }
        Ok(url)
    }
}

/// Percent-encodes names and values, leaving what devices and PostgREST are used to see as it is.
pub(crate) fn encode_query(fields: &[(String, String)]) -> String {
    encode(fields, b"-._~*,:()@/")
}

/// `application/x-www-form-urlencoded`, with `%20` for a blank, which every reader takes.
pub(crate) fn encode_form(fields: &[(String, String)]) -> String {
    encode(fields, b"-._*")
}

fn encode(fields: &[(String, String)], plain: &[u8]) -> String {
    let mut text = String::new();
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            text.push('&');
        }
        push_encoded(&mut text, name, plain);
        text.push('=');
        push_encoded(&mut text, value, plain);
    }
    text
}

fn push_encoded(text: &mut String, raw: &str, plain: &[u8]) {
    for byte in raw.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&hex::encode_upper([byte]));
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn origin_and_base_path_are_told_apart() {
        let target = Target::parse("https://HR.example/rest/", "hr").unwrap();
        assert_eq!(target.origin, "https://hr.example:443");
        assert_eq!(target.base_path, "/rest");
        let target = Target::parse("http://[fd12::7]:8080", "t").unwrap();
        assert_eq!((target.authority.as_str(), target.base_path.as_str()), ("[fd12::7]:8080", ""));
    }

    #[test]
    fn urls_that_hide_something_are_refused() {
        for bad in [
            "ftp://x/",
            "file:///etc/passwd",
            "http://",
            "x",
            "",
            "http://u:p@x/",
            "http://u@x",
            "http://x/?a",
            "http://x/#a",
            "http://x/a/../b",
            "http://x/%2e%2e/",
            "http://x\\y",
            "http://x y/",
            "http://x//a",
            "http://x:99999/",
            "http://x/\r\n",
        ] {
            assert!(Target::parse(bad, "c").is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_sent_is_what_was_checked() {
        let target = Target::parse("http://10.0.0.7", "t").unwrap();
        let query = encode_query(&[("format".into(), "json".into()), ("a b".into(), "'ä&=#\"<".into())]);
        assert_eq!(query, "format=json&a%20b=%27%C3%A4%26%3D%23%22%3C");
        let url = target.url("/ISAPI/x%20y", &query).unwrap();
        assert_eq!(url.as_str(), format!("http://10.0.0.7/ISAPI/x%20y?{query}"));
        for bad in ["/a/../b", "/a/%2e%2e/b", "/a b", "/a?b", "/a\\b", "/\u{e4}"] {
            assert!(target.url(bad, "").is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_query_value_reaches_the_host_or_the_path(name in ".*", value in ".*") {
            let target = Target::parse("http://10.0.0.7", "t").unwrap();
            let query = encode_query(&[(name.clone(), value.clone())]);
            let url = target.url("/x", &query).unwrap();
            proptest::prop_assert_eq!(url.path(), "/x");
            let back: Vec<_> = url.query_pairs().into_owned().collect();
            proptest::prop_assert_eq!(back, vec![(name, value)]);
        }
    }
}
