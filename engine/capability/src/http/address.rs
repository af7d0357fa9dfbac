//! Which addresses a connection may dial. Checked for what a name resolves to, at every new socket, and for literal
//! addresses; the address that was checked is the one that is dialled, so a name that changes its mind gets nowhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bascule_workflow::failure::{Failure, Kind};
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Finds the addresses of a name.
pub(crate) trait Lookup: Send + Sync {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's own resolver.
pub(crate) struct System;

impl Lookup for System {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// An address that a connection may not dial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressRefused {
    #[error("the address {address} is never dialled: {why}")]
    Never { address: IpAddr, why: &'static str },
    #[error(
        "`{host}` resolves to the loopback address {address}, which is dialled only where bascule.yaml writes it out"
    )]
    Loopback { host: String, address: IpAddr },
    #[error("{address} is outside allow.addresses of connection `{connection}`")]
    Outside { connection: String, address: IpAddr },
    #[error(
        "connection `{connection}` takes its host from `params` and has no allow.addresses: name the ranges it may \
         reach, e.g. `allow: {{ addresses: [192.168.1.0/24] }}`"
    )]
    NoRanges { connection: String },
}

/// An address range in CIDR notation; a single address is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    network: IpAddr,
    bits: u8,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (network, bits) = match text.split_once('/') {
            Some((network, bits)) => {
                (network.trim().parse::<IpAddr>().ok()?, Some(bits.trim().parse::<u8>().ok()?))
            }
            None => (text.trim().parse::<IpAddr>().ok()?, None),
        };
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { network, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

/// What one connection may dial.
#[derive(Clone, Debug)]
pub(crate) struct AddressPolicy {
    connection: String,
    ranges: Vec<Range>,
    /// The host is written out in `bascule.yaml`, not taken from `params`.
    host_is_fixed: bool,
    /// It is written out as `localhost`, `127.x.x.x` or `::1`.
    host_is_loopback: bool,
}

impl AddressPolicy {
    pub(crate) fn new(
        connection: &str,
        addresses: &[String],
        host_is_fixed: bool,
        host: &str,
    ) -> Result<Self, Failure> {
        let ranges = addresses
            .iter()
            .map(|text| {
                Range::parse(text).ok_or_else(|| {
                    Failure::new(
                        Kind::InvalidInput,
                        format!(
                            "connection `{connection}`: allow.addresses: `{text}` is not an address range"
                        ),
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let host_is_loopback = host_is_fixed
            && (host.eq_ignore_ascii_case("localhost")
                || literal.is_some_and(|address| address.to_canonical().is_loopback()));
        Ok(Self { connection: connection.to_owned(), ranges, host_is_fixed, host_is_loopback })
    }

    /// Checks one address that `host` stands for.
    pub(crate) fn check(&self, host: &str, address: IpAddr) -> Result<(), AddressRefused> {
        let address = address.to_canonical();
        never(address)?;
        if !self.ranges.is_empty() {
            if self.ranges.iter().any(|range| range.contains(address)) {
                return Ok(());
            }
            return Err(AddressRefused::Outside { connection: self.connection.clone(), address });
        }
        if !self.host_is_fixed {
            return Err(AddressRefused::NoRanges { connection: self.connection.clone() });
        }
        if address.is_loopback() && !self.host_is_loopback {
            return Err(AddressRefused::Loopback { host: host.to_owned(), address });
        }
        Ok(())
    }
}

/// Addresses that no peer has: they mean this machine, this link, everybody, or a cloud's own services.
fn never(address: IpAddr) -> Result<(), AddressRefused> {
    let refuse = |why| Err(AddressRefused::Never { address, why });
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => refuse("it means no address"),
            [169, 254, ..] => refuse("it is link-local, where clouds keep their metadata"),
            [224..=239, ..] => refuse("it is a multicast address"),
            [240..=255, ..] => refuse("it is reserved or the broadcast address"),
            [100, 100, 100, 200] | [168, 63, 129, 16] => refuse("it is a cloud's metadata service"),
            _ => Ok(()),
        },
        IpAddr::V6(v6) => {
            if let Some(inner) = embedded(v6) {
                never(IpAddr::V4(inner))?;
                if inner.is_loopback() {
                    return refuse("it stands for a loopback address");
                }
            }
            match v6.segments() {
                [0, 0, 0, 0, 0, 0, 0, 0] => refuse("it means no address"),
                [first, ..] if first & 0xffc0 == 0xfe80 => refuse("it is link-local"),
                [first, ..] if first & 0xff00 == 0xff00 => refuse("it is a multicast address"),
                [0xfd00, 0x0ec2, ..] => refuse("it is a cloud's metadata service"),
                _ => Ok(()),
            }
        }
    }
}

/// The IPv4 address inside NAT64 (RFC 6052), 6to4 (RFC 3056) and IPv4-compatible addresses.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => from(high, low),
        _ => None,
    }
}

/// Looks names up and lets through only what the connection may dial.
pub(crate) struct CheckedResolver {
    pub(crate) policy: Arc<AddressPolicy>,
    pub(crate) lookup: Arc<dyn Lookup>,
}

impl CheckedResolver {
    /// The addresses that may be dialled; an error where there are none.
    pub(crate) async fn addresses(
        &self,
        host: &str,
    ) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found = self.lookup.lookup(host.to_owned()).await?;
        let mut refused = None;
        let mut good = Vec::with_capacity(found.len());
        for address in found {
            match self.policy.check(host, address) {
                Ok(()) => good.push(address),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if good.is_empty() => Err(Box::new(error)),
            _ if good.is_empty() => Err(Box::new(io::Error::new(io::ErrorKind::NotFound, "no address"))),
            _ => Ok(good),
        }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = Self { policy: Arc::clone(&self.policy), lookup: Arc::clone(&self.lookup) };
        Box::pin(async move {
            let good = this.addresses(name.as_str()).await?;
            let addresses: Addrs = Box::new(good.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn policy(addresses: &[&str], host_is_fixed: bool, host: &str) -> AddressPolicy {
        let addresses: Vec<_> = addresses.iter().map(|text| (*text).to_owned()).collect();
        AddressPolicy::new("terminal", &addresses, host_is_fixed, host).unwrap()
    }

    fn allows(policy: &AddressPolicy, address: &str) -> bool {
        policy.check("h", address.parse().unwrap()).is_ok()
    }

    #[test]
    fn ranges_hold_at_their_edges() {
        let policy = policy(&["192.168.1.0/24", "10.0.0.7", "fd12::/16"], false, "192.168.1.5");
        for good in ["192.168.1.0", "192.168.1.255", "10.0.0.7", "fd12::1", "::ffff:10.0.0.7"] {
            assert!(allows(&policy, good), "{good}");
        }
        for bad in ["192.168.0.255", "192.168.2.0", "10.0.0.8", "fd13::1", "127.0.0.1", "::1", "8.8.8.8"] {
            assert!(!allows(&policy, bad), "{bad}");
        }
    }

    #[test]
    fn what_no_peer_has_is_refused_even_where_a_range_covers_it() {
        let policy = policy(&["0.0.0.0/0", "::/0"], true, "host.example");
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.1.1",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "64:ff9b::7f00:1",
            "::169.254.169.254",
        ] {
            assert!(!allows(&policy, bad), "{bad}");
        }
        assert!(allows(&policy, "127.0.0.1"), "written out by the range");
    }

    #[test]
    fn loopback_must_be_written_out() {
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(allows(&policy(&[], true, host), "127.0.0.1"), "{host}");
        }
        assert!(!allows(&policy(&[], true, "hr.example"), "127.0.0.1"));
        assert!(!allows(&policy(&[], true, "hr.example"), "::1"));
        assert!(allows(&policy(&[], true, "hr.example"), "10.1.2.3"));
    }

    #[test]
    fn a_host_from_params_needs_ranges() {
        let error =
            policy(&[], false, "10.0.0.7").check("10.0.0.7", "10.0.0.7".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("name the ranges it may reach"), "{error}");
    }

    #[test]
    fn a_range_that_is_none_is_said() {
        for bad in ["10.0.0.0/33", "x", "10.0.0/8", "::/129", "10.0.0.0/-1", ""] {
            assert!(AddressPolicy::new("c", &[bad.to_owned()], true, "h").is_err(), "{bad}");
        }
    }
}
