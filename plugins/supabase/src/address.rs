//! What tables keep as the address of a file, and what it means for one project.

use bascule_sdk::{Error, encode_segment};

/// An address, told apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Below the project's own origin: an encoded path, and the query with its parameters decoded.
    Own { path: String, query: Vec<(String, String)>, raw_query: Option<String> },
    /// Of another host; as it was given.
    Foreign(String),
}

/// The whole public address of a file. `origin` is the connection's scheme, host and port.
pub(crate) fn public_url(origin: &str, address: &str, bucket: Option<&str>) -> Result<String, Error> {
    let parsed = match bucket {
        Some(bucket) => object(address, bucket, "/storage/v1/object/public")?,
        None => parse(origin, address)?,
    };
    Ok(match parsed {
        Address::Own { path, raw_query, .. } => {
            let query = raw_query.map(|query| format!("?{query}")).unwrap_or_default();
            format!("{}{path}{query}", short(origin))
        }
        Address::Foreign(whole) => whole,
    })
}

/// The file `path` in `bucket`, below `root`.
pub(crate) fn object(path: &str, bucket: &str, root: &str) -> Result<Address, Error> {
    Ok(Address::Own { path: object_path(path, bucket, root)?, query: Vec::new(), raw_query: None })
}

/// The encoded path of a file in a bucket, below `root`, e.g. `/storage/v1/object`.
pub(crate) fn object_path(path: &str, bucket: &str, root: &str) -> Result<String, Error> {
    let inside = inside(path)?;
    let encoded = inside.split('/').map(encode_segment).collect::<Vec<_>>().join("/");
    Ok(format!("{}/{encoded}", bucket_path(bucket, root)?))
}

/// The encoded path of a bucket, below `root`.
pub(crate) fn bucket_path(bucket: &str, root: &str) -> Result<String, Error> {
    let bucket = bucket.trim();
    if bucket.is_empty() || bucket.contains('/') {
        return Err(Error::invalid_input(format!("`{}` is no bucket's name", bucket.escape_debug())));
    }
    Ok(format!("{root}/{}", encode_segment(bucket)))
}

/// A path inside a bucket, as the storage keeps it: without `/` in front.
pub(crate) fn inside(path: &str) -> Result<&str, Error> {
    let inside = path.trim().trim_start_matches('/');
    if inside.contains("://") {
        return Err(Error::invalid_input("with a bucket goes a path inside the bucket, not a whole address"));
    }
    if inside.split('/').any(|segment| matches!(segment, "" | "." | ".."))
        || inside.chars().any(char::is_control)
    {
        return Err(Error::invalid_input(format!("`{}` is no path inside a bucket", path.escape_debug())));
    }
    Ok(inside)
}

/// A whole address, or a path below the project's.
pub(crate) fn parse(origin: &str, address: &str) -> Result<Address, Error> {
    let address = address.trim();
    let wrong = |why: &str| Error::invalid_input(format!("the address `{}` {why}", address.escape_debug()));
    if address.is_empty() {
        return Err(wrong("is empty"));
    }
    if address.chars().any(char::is_control) {
        return Err(wrong("has control characters in it"));
    }
    let rest = if let Some((scheme, rest)) = address.split_once("://") {
        let (host, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") || host.is_empty() {
            return Err(wrong("is neither http nor https"));
        }
        if host.contains('@') {
            return Err(wrong("carries a user name"));
        }
        if !same_project(origin, &scheme, host) {
            return Ok(Address::Foreign(address.to_owned()));
        }
        rest
    } else if address.starts_with("//") {
        return Err(wrong("names a host without http or https"));
    } else {
        address
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let mut encoded = String::new();
    for segment in path.trim_start_matches('/').split('/') {
        let plain = decode(segment);
        if plain == "." || plain == ".." {
            return Err(wrong("steps out of its folder"));
        }
        encoded.push('/');
        // What is encoded already stays; what should have been is now.
        encoded.push_str(&tidy(segment));
    }
    let fields =
        query.into_iter().flat_map(|query| query.split('&')).filter(|field| !field.is_empty()).map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        });
    Ok(Address::Own { path: encoded, query: fields.collect(), raw_query: query.map(tidy) })
}

/// Whether an address belongs to the project. `http://` counts as the project's own `https://`, never the reverse: a
/// table filled long ago may still say `http`.
fn same_project(origin: &str, scheme: &str, host: &str) -> bool {
    let Some((own_scheme, own_host)) = origin.split_once("://") else {
        return false;
    };
    let own = with_port(own_scheme, own_host);
    own == with_port(scheme, host)
        || (own_scheme == "https"
            && scheme == "http"
            && (own == with_port("https", host)
                || host.ends_with(":80") && own == with_port("https", host.trim_end_matches(":80"))))
}

fn with_port(scheme: &str, host: &str) -> String {
    let host = host.to_ascii_lowercase();
    // A colon inside brackets is part of an IPv6 address.
    if host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return host;
    }
    format!("{}:{}", host.trim_end_matches(':'), if scheme == "https" { 443 } else { 80 })
}

/// The origin without a port that its scheme implies: some devices cannot read one.
fn short(origin: &str) -> &str {
    match origin.split_once("://") {
        Some(("https", _)) => origin.strip_suffix(":443").unwrap_or(origin),
        Some(("http", _)) => origin.strip_suffix(":80").unwrap_or(origin),
        _ => origin,
    }
}

/// Percent-encodes what may not stand in an address and leaves the rest, so that nothing is encoded twice.
fn tidy(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut tidied = String::with_capacity(text.len());
    for (index, &byte) in bytes.iter().enumerate() {
        let encoded = byte == b'%'
            && bytes.get(index + 1..index + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        if encoded || byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte) {
            tidied.push(char::from(byte));
        } else {
            tidied.push_str(&format!("%{byte:02X}"));
        }
    }
    tidied
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let pair = (byte == b'%').then(|| bytes.get(index + 1..index + 3)).flatten();
        match pair
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok())
        {
            Some(value) => {
                decoded.push(value);
                index += 3;
            }
            None => {
                decoded.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const ORIGIN: &str = "https://proj.supabase.co:443";

    #[test]
    fn the_captured_public_address_is_built() {
        // facts/supabase_wire_capture.json, "publicUrl".
        assert_eq!(
            public_url(ORIGIN, "dir/a b.jpg", Some("photos")).unwrap(),
            "https://proj.supabase.co/storage/v1/object/public/photos/dir/a%20b.jpg"
        );
    }

    #[test]
    fn relative_addresses_are_completed_and_http_becomes_https() {
        let whole = "https://proj.supabase.co/storage/v1/object/public/photos/1.jpg";
        for address in [
            whole,
            "/storage/v1/object/public/photos/1.jpg",
            "storage/v1/object/public/photos/1.jpg",
            "http://proj.supabase.co/storage/v1/object/public/photos/1.jpg",
            "http://proj.supabase.co:80/storage/v1/object/public/photos/1.jpg",
            "HTTPS://PROJ.supabase.co:443/storage/v1/object/public/photos/1.jpg#x",
        ] {
            assert_eq!(public_url(ORIGIN, address, None).unwrap(), whole, "{address}");
        }
        assert_eq!(
            public_url(ORIGIN, "/a b.jpg?t=1&x=a%20b", None).unwrap(),
            "https://proj.supabase.co/a%20b.jpg?t=1&x=a%20b"
        );
        assert_eq!(
            public_url("http://127.0.0.1:5431", "/p/1.jpg", None).unwrap(),
            "http://127.0.0.1:5431/p/1.jpg"
        );
    }

    #[test]
    fn other_hosts_and_plain_http_projects_are_left_alone() {
        for (origin, address) in [
            (ORIGIN, "http://photos.example/1.jpg"),
            (ORIGIN, "http://proj.supabase.co:8080/1.jpg"),
            (ORIGIN, "https://proj.supabase.co.evil.example/1.jpg"),
            ("http://proj.supabase.co:80", "https://proj.supabase.co/1.jpg"),
        ] {
            assert_eq!(public_url(origin, address, None).unwrap(), address);
        }
        assert_eq!(
            public_url("http://p.test:80", "http://p.test/1.jpg", None).unwrap(),
            "http://p.test/1.jpg"
        );
    }

    #[test]
    fn addresses_that_lead_elsewhere_are_refused() {
        for address in [
            "",
            "//evil.example/1.jpg",
            "ftp://x/1",
            "http:///1",
            "/a/../b",
            "/a/%2e%2e/b",
            "https://u:p@proj.supabase.co/1",
            "a\nb",
        ] {
            assert!(parse(ORIGIN, address).is_err(), "{address:?}");
        }
        for (path, bucket) in
            [("", "b"), ("a", ""), ("a", "b/c"), ("../a", "b"), ("a//b", "b"), ("https://x/a", "b")]
        {
            assert!(object(path, bucket, "/r").is_err(), "{path} {bucket}");
        }
    }

    #[test]
    fn a_signed_address_keeps_its_token() {
        let parsed =
            parse(ORIGIN, "https://proj.supabase.co/storage/v1/object/sign/photos/a.jpg?token=eyJ%2Bx")
                .unwrap();
        let expected = Address::Own {
            path: "/storage/v1/object/sign/photos/a.jpg".into(),
            query: vec![("token".into(), "eyJ+x".into())],
            raw_query: Some("token=eyJ%2Bx".into()),
        };
        assert_eq!(parsed, expected);
    }
}
