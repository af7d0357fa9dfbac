//! Requests led to a stand-in on this computer: how a workflow is tested with real plugins and without devices.

use std::net::SocketAddr;

use bascule_workflow::failure::{Failure, Kind};
use reqwest::header::{HOST, HeaderMap, HeaderValue};
use url::Url;

use super::target::Target;

/// Says where the requests of a connection go instead of to their peer.
pub trait Detour: Send + Sync {
    /// The loopback address of the stand-in for `connection` at `authority` (`10.0.0.7:80`); `None` goes to the peer
    /// itself. Asked for every request; a stand-in tells peers apart by the header `Host`, which stays the peer's.
    fn address(&self, connection: &str, authority: &str) -> Option<SocketAddr>;
}

/// Leads one request astray, after it was checked and signed. Only a loopback address is taken.
pub(super) fn lead(
    detour: &dyn Detour,
    connection: &str,
    target: &Target,
    url: &mut Url,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    let Some(address) = detour.address(connection, &target.authority) else {
        return Ok(());
    };
    let wrong = |why: &str| {
        Failure::new(Kind::Internal, format!("connection `{connection}`: its stand-in at {address} {why}"))
    };
    if !address.ip().is_loopback() {
        return Err(wrong("is not on this computer"));
    }
    let host = HeaderValue::from_str(&target.authority).map_err(|_bad| wrong("cannot be told its peer"))?;
    let scheme = url.set_scheme("http");
    let ip = url.set_ip_host(address.ip());
    let port = url.set_port(Some(address.port()));
    if scheme.is_err() || ip.is_err() || port.is_err() {
        return Err(wrong("is not an address"));
    }
    headers.insert(HOST, host);
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    struct To(Option<SocketAddr>);

    impl Detour for To {
        fn address(&self, _connection: &str, _authority: &str) -> Option<SocketAddr> {
            self.0
        }
    }

    fn led(to: Option<&str>) -> Result<(String, Option<String>), Failure> {
        let target = Target::parse("https://hr.example/base", "hr").unwrap();
        let mut url = target.url("/base/a%20b", "x=1").unwrap();
        let mut headers = HeaderMap::new();
        lead(&To(to.map(|to| to.parse().unwrap())), "hr", &target, &mut url, &mut headers)?;
        let host = headers.get(HOST).map(|host| host.to_str().unwrap().to_owned());
        Ok((url.to_string(), host))
    }

    #[test]
    fn a_stand_in_gets_path_and_query_and_is_told_whom_it_stands_for() {
        let (url, host) = led(Some("127.0.0.1:4000")).unwrap();
        assert_eq!(url, "http://127.0.0.1:4000/base/a%20b?x=1");
        assert_eq!(host.as_deref(), Some("hr.example:443"));
        assert_eq!(led(Some("[::1]:4000")).unwrap().0, "http://[::1]:4000/base/a%20b?x=1");
    }

    #[test]
    fn without_a_stand_in_nothing_is_changed() {
        assert_eq!(led(None).unwrap(), ("https://hr.example/base/a%20b?x=1".to_owned(), None));
    }

    #[test]
    fn a_stand_in_elsewhere_is_refused() {
        for elsewhere in ["10.0.0.7:80", "0.0.0.0:80", "[fe80::1]:80"] {
            assert_eq!(led(Some(elsewhere)).unwrap_err().kind, Kind::Internal, "{elsewhere}");
        }
    }
}
