//! `url:` and `allow.addresses`.

use std::net::IpAddr;

use url::Url;

use super::fields::{Reader, path_fault};
use crate::document::Node;
use crate::expression::{Shape, Template, TextPart};
use crate::problem::{Problem, codes};

/// What the text of a `url` says by itself.
pub(super) struct Address {
    /// No parameter says where requests go.
    pub(super) fixed: bool,
    /// `https`, `http`, or a parameter's business.
    pub(super) encrypted: Option<bool>,
    /// The host, where it is written out.
    pub(super) host: Option<String>,
}

/// Stands for an expression while the text around it is checked; good as a host, a port and a part of a path.
const STAND_IN: &str = "1";

/// Checks a `url`; `None` where it is reported to be wrong.
pub(super) fn check(reader: &mut Reader<'_>, node: &Node, template: &Template) -> Option<Address> {
    let (sample, fixed, scheme_written) = sample(template);
    let text = node.as_str().unwrap_or_default();
    let mut refuse = |message: String, help: &str| {
        reader.error(codes::PROJECT_URL, node.span, message, help);
        None
    };
    let usual = "write scheme and host, for example `https://hr.example` or `http://10.0.0.7:8080`";
    if sample.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return refuse("`url` has a blank, a backslash or a control character in it".to_owned(), usual);
    }
    let Some((scheme, rest)) = sample.split_once("://") else {
        return refuse("`url` lacks `http://` or `https://`".to_owned(), usual);
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme_written && !matches!(scheme.as_str(), "http" | "https") {
        return refuse(format!("`{scheme}:` is not spoken, only `http:` and `https:`"), usual);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let start = text.find("://").map_or(0, |at| at + 3);
        let end = text.rfind('@').unwrap_or(text.len());
        let span = reader.locate(node, start, end);
        reader.blot(span);
        reader.error(
            codes::PROJECT_URL_LOGIN,
            span,
            "credentials do not belong in the address",
            "write them as `auth: { digest: { user: .., password: { secret: NAME } } }`",
        );
        return None;
    }
    if rest.contains(['?', '#']) {
        return refuse(
            "`url` must not have a query or a fragment".to_owned(),
            "the plugin says what it asks for",
        );
    }
    if let Some(path) =
        rest.get(authority.len()..).map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty())
        && let Some(fault) = path_fault(path)
    {
        return refuse(format!("the path of `url` {fault}"), usual);
    }
    match Url::parse(&sample) {
        Ok(url) if url.host_str().is_some_and(|host| !host.is_empty()) => {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let encrypted = scheme_written.then_some(scheme == "https");
            Some(Address { fixed, encrypted, host: fixed.then_some(host) })
        }
        Ok(_) => refuse("`url` has no host".to_owned(), usual),
        Err(error) => refuse(format!("`url` is not an address: {error}"), usual),
    }
}

/// The text with stand-ins for its expressions, whether the address part has none, and whether the scheme is written.
fn sample(template: &Template) -> (String, bool, bool) {
    let parts = match template.shape() {
        Shape::Literal(value) => return (value.as_str().unwrap_or_default().to_owned(), true, true),
        Shape::Text(parts) => parts,
        _ => return (format!("http://{STAND_IN}"), false, false),
    };
    let mut sample = String::new();
    let mut fixed = true;
    let mut scheme_written = true;
    for (at, part) in parts.iter().enumerate() {
        match part {
            TextPart::Literal(text) => sample.push_str(text),
            TextPart::Expression { .. } if at == 0 => {
                (fixed, scheme_written) = (false, false);
                let scheme_only =
                    matches!(parts.get(1), Some(TextPart::Literal(text)) if text.starts_with("://"));
                sample.push_str("http");
                if !scheme_only {
                    sample.push_str("://");
                    sample.push_str(STAND_IN);
                }
            }
            TextPart::Expression { .. } => {
                fixed &= sample.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
                sample.push_str(STAND_IN);
            }
        }
    }
    (sample, fixed, scheme_written)
}

/// True for a host that is neither on this machine nor on a private network. Names without a dot and those under
/// `.local`, `.lan`, `.internal` and `.home.arpa` are taken for private.
pub(super) fn is_public(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return !is_private(address);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let private = ["localhost", ".localhost", ".local", ".lan", ".internal", ".home.arpa", ".test"];
    host.contains('.') && !private.iter().any(|suffix| host.ends_with(suffix))
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // 100.64.0.0/10 is what carriers and overlay networks use (RFC 6598).
            let shared = first == 100 && (64..128).contains(&second);
            address.is_private() || address.is_loopback() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            address.is_loopback() || (first & 0xfe00) == 0xfc00 || (first & 0xffc0) == 0xfe80
        }
    }
}

/// True for a range whose first or last address is public.
pub(super) fn is_public_range(text: &str) -> bool {
    Range::parse(text).is_ok_and(|range| !is_private(range.first()) || !is_private(range.last()))
}

struct Range {
    address: IpAddr,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let usual = "write an address and its bits, for example 10.20.0.0/16, or one address";
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(match text {
                _ if text.contains('*') => "write 10.20.0.0/16 for 10.20.*.*",
                _ if text.matches('.').count() > 3 && text.contains('-') => "write the range as 10.20.0.0/24",
                _ => usual,
            });
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        match bits {
            None => Ok(Self { address, bits: most }),
            Some(bits) => match bits.parse::<u32>() {
                Ok(bits) if bits <= most => Ok(Self { address, bits }),
                _ if bits.contains('.') => Err("write the number of bits, for example /24 for 255.255.255.0"),
                _ => Err(usual),
            },
        }
    }

    fn ends(&self) -> (IpAddr, IpAddr) {
        match self.address {
            IpAddr::V4(address) => {
                let free = u32::MAX.checked_shr(self.bits).unwrap_or(0);
                let number = u32::from(address);
                (IpAddr::V4((number & !free).into()), IpAddr::V4((number | free).into()))
            }
            IpAddr::V6(address) => {
                let free = u128::MAX.checked_shr(self.bits).unwrap_or(0);
                let number = u128::from(address);
                (IpAddr::V6((number & !free).into()), IpAddr::V6((number | free).into()))
            }
        }
    }

    fn first(&self) -> IpAddr {
        self.ends().0
    }

    fn last(&self) -> IpAddr {
        self.ends().1
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (first, last) = self.ends();
        first.is_ipv4() == address.is_ipv4() && (first..=last).contains(&address)
    }
}

pub(super) fn read_ranges(reader: &mut Reader<'_>, node: &Node, address: Option<&Address>) -> Vec<String> {
    let mut ranges = Vec::new();
    let mut parsed = Vec::new();
    let items = reader.items(node, "`addresses`", "[10.20.0.0/16]");
    let count = items.len();
    for item in items {
        let Some(text) = reader.plain(item, "an address range") else {
            continue;
        };
        match Range::parse(text.trim()) {
            Ok(range) => {
                warn_of_surprise(reader, item, &text, &range);
                ranges.push(text.trim().to_owned());
                parsed.push(range);
            }
            Err(help) => {
                reader.error(
                    codes::PROJECT_RANGE,
                    item.span,
                    format!("`{text}` is not an address range"),
                    help,
                );
            }
        }
    }
    if count == 0 && node.as_list().is_some() {
        reader.error(
            codes::PROJECT_RANGE,
            node.span,
            "`addresses` is empty",
            "name the ranges, for example [10.20.0.0/16], or remove the key",
        );
    }
    let host =
        address.and_then(|address| address.host.as_deref()).and_then(|host| host.parse::<IpAddr>().ok());
    if let Some(host) = host
        && !parsed.is_empty()
        && parsed.len() == count
        && !parsed.iter().any(|range| range.contains(host))
    {
        reader.error(
            codes::PROJECT_RANGE,
            node.span,
            format!("the address {host} of `url` lies in none of these ranges"),
            format!("add {host}, or remove `addresses`"),
        );
    }
    ranges
}

fn warn_of_surprise(reader: &mut Reader<'_>, item: &Node, text: &str, range: &Range) {
    if range.bits == 0 {
        reader.report(
            Problem::warning(codes::PROJECT_RANGE, item.span, format!("`{text}` is every address there is"))
                .help("name the networks that your devices are in"),
        );
    } else if range.first() != range.address {
        let (first, last) = range.ends();
        reader.report(
            Problem::warning(codes::PROJECT_RANGE, item.span, format!("`{text}` means {first} to {last}"))
                .help(format!(
                    "write {first}/{} for the range, {} for the one address",
                    range.bits, range.address
                )),
        );
    }
}
