//! Where the terminal sends its events (`facts/isapi.md` 5.4).

use bascule_sdk::xml::{self, Element};
use bascule_sdk::{Effect, Error, Peer, Request, json};
use serde_json::json;

use crate::bindings::exports::bascule::isapi::hosts::Host;
use crate::clock::not_taken;
use crate::reply::{self, Document};

/// People who passed or were refused, by card, finger, face or password.
const USUAL_MINORS: [u32; 12] = [1, 6, 8, 9, 38, 39, 75, 76, 80, 112, 150, 181];
/// What terminals take as `url`, in bytes.
const MAX_PATH: usize = 128;

/// What to write.
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) format: Option<String>,
    pub(crate) heartbeat: Option<u32>,
    pub(crate) minors: Option<Vec<u32>>,
    pub(crate) pictures: Pictures,
}

/// Where the pictures of events go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pictures {
    /// Along with the event, in a form.
    Sent,
    /// They stay on the terminal; the event names them.
    Kept,
}

pub(crate) fn search(terminal: &dyn Peer) -> Result<Vec<Host>, Error> {
    Ok(slots(terminal)?.iter().map(host).collect())
}

/// Points a slot at a receiver.
pub(crate) fn set(terminal: &dyn Peer, slot: u32, target: &Target) -> Result<Host, Error> {
    let (protocol, name, port, path) = split(&target.url)?;
    let format = target.format.as_deref().unwrap_or("JSON").to_ascii_uppercase();
    if format != "JSON" && format != "XML" {
        return Err(Error::invalid_input("the format is `JSON` or `XML`"));
    }
    if target.heartbeat.is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        return Err(Error::invalid_input("the heartbeat is 1 to 30 seconds"));
    }
    let before = find(terminal, slot)?;
    let minors = target.minors.as_deref().unwrap_or(&USUAL_MINORS);
    let list: Vec<String> = minors.iter().map(|minor| format!("0x{minor:x}")).collect();
    let heartbeat = target.heartbeat.map(|seconds| leaf("heartbeat", &seconds.to_string()));
    let event = node(
        "Event",
        vec![
            leaf("type", "AccessControllerEvent"),
            // All four have to be there, empty or not.
            leaf("minorAlarm", ""),
            leaf("minorException", ""),
            leaf("minorOperation", ""),
            leaf("minorEvent", &list.join(",")),
            leaf("pictureURLType", if target.pictures == Pictures::Sent { "binary" } else { "localURL" }),
        ],
    );
    let mut subscribe: Vec<Element> = heartbeat.into_iter().collect();
    subscribe.extend([leaf("eventMode", "list"), node("EventList", vec![event])]);
    let is_address = name.parse::<std::net::Ipv4Addr>().is_ok();
    let own = vec![
        leaf("id", &slot.to_string()),
        leaf("url", &path),
        leaf("protocolType", protocol),
        leaf("parameterFormatType", &format),
        leaf("addressingFormatType", if is_address { "ipaddress" } else { "hostname" }),
        leaf(if is_address { "ipAddress" } else { "hostName" }, &name),
        leaf("portNo", &port.to_string()),
        leaf("httpAuthenticationMethod", "none"),
        node("SubscribeEvent", subscribe),
    ];
    let wanted = Host {
        slot,
        used: true,
        protocol: Some(protocol.to_owned()),
        host: Some(name),
        port: Some(port),
        path: Some(path),
        format: Some(format),
        authentication: Some("none".to_owned()),
        heartbeat_seconds: target.heartbeat,
        events: vec!["AccessControllerEvent".to_owned()],
    };
    exchange(terminal, slot, &before, own, |there| same(there, &wanted))
}

/// Points a slot nowhere.
pub(crate) fn clear(terminal: &dyn Peer, slot: u32) -> Result<Host, Error> {
    let before = find(terminal, slot)?;
    let own = vec![
        leaf("id", &slot.to_string()),
        leaf("url", ""),
        leaf("protocolType", "EHome"),
        leaf("parameterFormatType", "XML"),
        leaf("addressingFormatType", "ipaddress"),
        leaf("ipAddress", "0.0.0.0"),
        leaf("portNo", "0"),
        leaf("httpAuthenticationMethod", "none"),
    ];
    exchange(terminal, slot, &before, own, |there| !there.used)
}

/// Has the terminal try to reach the receiver of a slot, with the slot as it stands.
pub(crate) fn test(terminal: &dyn Peer, slot: u32) -> Result<(), Error> {
    let there = find(terminal, slot)?;
    if !host(&there).used {
        return Err(Error::invalid_input(format!("slot {slot} points nowhere")));
    }
    let request = Request::post(format!("/ISAPI/Event/notification/httpHosts/{slot}/test"));
    let request = request.xml(document(&there.children));
    let line = request.line();
    let said = match reply::accept(&terminal.send(request)?, &line)? {
        Document::Xml(root) => root.find("errorDescription").map(|one| one.text.clone()),
        Document::Json(value) => {
            let result = json::field(&value, "HttpHostTestResult").unwrap_or(&value);
            json::field(result, "errorDescription").and_then(json::as_text)
        }
        Document::Empty => return Err(reply::unexpected(&line, "an HttpHostTestResult")),
    };
    match said.as_deref().map(str::trim) {
        None | Some("") => Ok(()),
        Some(said) if said.eq_ignore_ascii_case("ok") || said.eq_ignore_ascii_case("success") => Ok(()),
        Some(said) => Err(Error::new(
            bascule_sdk::ErrorKind::Offline,
            format!("the terminal cannot reach the receiver of slot {slot}: {}", said.escape_debug()),
        )
        .code("isapi:receiver-not-reached")),
    }
}

/// Writes a slot, looks whether it was taken, and puts the earlier one back if it was not.
fn exchange(
    terminal: &dyn Peer,
    slot: u32,
    before: &Element,
    own: Vec<Element>,
    fits: impl Fn(&Host) -> bool,
) -> Result<Host, Error> {
    const REPLACED: [&str; 14] = [
        "id",
        "url",
        "protocolType",
        "parameterFormatType",
        "addressingFormatType",
        "ipAddress",
        "ipv6Address",
        "hostName",
        "portNo",
        "userName",
        "password",
        "httpAuthenticationMethod",
        "SubscribeEvent",
        "httpBroken",
    ];
    let mut children = own;
    // What this plugin does not know stays as it is.
    children.extend(
        before
            .children
            .iter()
            .filter(|child| !REPLACED.iter().any(|name| child.name.eq_ignore_ascii_case(name)))
            .cloned(),
    );
    put(terminal, slot, &children)?;
    let there = find(terminal, slot).map_err(|error| error.effect(Effect::Applied))?;
    let found = host(&there);
    if fits(&found) {
        return Ok(found);
    }
    let put_back = put(terminal, slot, &before.children)
        .and_then(|()| find(terminal, slot))
        .is_ok_and(|now| same(&host(&now), &host(before)));
    let words = json!({ "found": { "host": found.host, "port": found.port, "path": found.path, "protocol": found.protocol } });
    Err(not_taken("event receiver", put_back, words))
}

fn same(one: &Host, other: &Host) -> bool {
    one.used == other.used
        && (!one.used
            || (one.host == other.host
                && one.port == other.port
                && one.path == other.path
                && one.protocol.as_deref().map(str::to_ascii_uppercase)
                    == other.protocol.as_deref().map(str::to_ascii_uppercase)))
}

fn slots(terminal: &dyn Peer) -> Result<Vec<Element>, Error> {
    let request = Request::get("/ISAPI/Event/notification/httpHosts");
    let line = request.line();
    let Document::Xml(root) = reply::accept(&terminal.send(request)?, &line)? else {
        return Err(reply::unexpected(&line, "an HttpHostNotificationList"));
    };
    if !root.name.eq_ignore_ascii_case("HttpHostNotificationList") {
        return Err(reply::unexpected(&line, "an HttpHostNotificationList"));
    }
    Ok(root.children_named("HttpHostNotification").cloned().collect())
}

fn find(terminal: &dyn Peer, slot: u32) -> Result<Element, Error> {
    let all = slots(terminal)?;
    let numbers: Vec<String> = all.iter().filter_map(|one| one.text_of("id").map(str::to_owned)).collect();
    all.into_iter().find(|one| one.text_of("id") == Some(slot.to_string().as_str())).ok_or_else(|| {
        Error::not_found(format!("the terminal has no slot {slot}; it has {}", numbers.join(", ")))
    })
}

fn document(children: &[Element]) -> String {
    let mut body = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<HttpHostNotification version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\">\n",
    );
    for child in children {
        render(child, &mut body);
    }
    body.push_str("</HttpHostNotification>\n");
    body
}

fn put(terminal: &dyn Peer, slot: u32, children: &[Element]) -> Result<(), Error> {
    let request = Request::put(format!("/ISAPI/Event/notification/httpHosts/{slot}")).xml(document(children));
    let line = request.line();
    reply::accept_write(&terminal.send(request)?, &line).map(|_| ())
}

fn host(slot: &Element) -> Host {
    let text = |name: &str| slot.text_of(name).map(str::to_owned);
    let name = text("hostName").or_else(|| text("ipAddress")).filter(|name| name != "0.0.0.0");
    let port = slot.text_of("portNo").and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    let subscribe = slot.child("SubscribeEvent");
    Host {
        slot: slot.text_of("id").and_then(|id| id.parse().ok()).unwrap_or(0),
        used: name.is_some() && port.is_some(),
        protocol: text("protocolType"),
        host: name,
        port,
        path: text("url"),
        format: text("parameterFormatType"),
        authentication: text("httpAuthenticationMethod"),
        heartbeat_seconds: subscribe.and_then(|one| one.text_of("heartbeat")?.parse().ok()),
        events: subscribe
            .and_then(|one| one.child("EventList"))
            .map(|list| {
                list.children_named("Event")
                    .filter_map(|event| event.text_of("type"))
                    .map(str::to_owned)
                    .collect()
            })
            .unwrap_or_default(),
    }
}

/// `http://host:8080/path` -> `HTTP`, `host`, 8080, `/path`.
fn split(url: &str) -> Result<(&'static str, String, u16, String), Error> {
    let wrong = || {
        Error::invalid_input(format!(
            "`{}` is not an address such as http://192.168.1.10:8080/hooks/terminal, with a path of at most {MAX_PATH} bytes",
            url.escape_debug()
        ))
    };
    let (protocol, usual, rest) = if let Some(rest) = url.strip_prefix("http://") {
        ("HTTP", 80, rest)
    } else if let Some(rest) = url.strip_prefix("https://") {
        ("HTTPS", 443, rest)
    } else {
        return Err(wrong());
    };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let (name, port) = match authority.split_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| wrong())?),
        None => (authority, usual),
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let plain = path.chars().all(|c| c.is_ascii_graphic());
    if name.is_empty() || !name.chars().all(named) || !plain || path.len() > MAX_PATH || port == 0 {
        return Err(wrong());
    }
    Ok((protocol, name.to_owned(), port, path.to_owned()))
}

fn leaf(name: &str, text: &str) -> Element {
    Element { name: name.to_owned(), text: text.to_owned(), ..Element::default() }
}

fn node(name: &str, children: Vec<Element>) -> Element {
    Element { name: name.to_owned(), children, ..Element::default() }
}

fn render(element: &Element, body: &mut String) {
    body.push_str(&format!("<{}", element.name));
    for (name, value) in &element.attributes {
        body.push_str(&format!(" {name}=\"{}\"", xml::escape(value)));
    }
    body.push('>');
    body.push_str(&xml::escape(&element.text));
    for child in &element.children {
        render(child, body);
    }
    body.push_str(&format!("</{}>\n", element.name));
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const GET: &str = "GET /ISAPI/Event/notification/httpHosts";
    const PUT: &str = "PUT /ISAPI/Event/notification/httpHosts/2";
    const OK: &str = "<ResponseStatus><statusCode>1</statusCode></ResponseStatus>";
    /// An unused slot as recorded, with something that nobody here knows.
    const UNUSED: &str = "<HttpHostNotification><id>2</id><url></url><protocolType>EHome</protocolType><parameterFormatType></parameterFormatType><addressingFormatType>ipaddress</addressingFormatType><ipAddress>0.0.0.0</ipAddress><portNo>0</portNo><httpAuthenticationMethod>none</httpAuthenticationMethod><Extensions><intervalBetweenEvents>0</intervalBetweenEvents></Extensions></HttpHostNotification>";

    fn list(second: &str) -> bascule_sdk::Response {
        answer(
            200,
            format!(
                "<HttpHostNotificationList version=\"2.0\" xmlns=\"urn:psialliance-org\"><HttpHostNotification><id>1</id><url>/old</url><protocolType>HTTP</protocolType><ipAddress>10.0.0.1</ipAddress><portNo>80</portNo></HttpHostNotification>{second}</HttpHostNotificationList>"
            ),
        )
    }

    fn target() -> Target {
        Target {
            url: "http://10.0.0.9:8080/hook?k=1&d=in".into(),
            format: None,
            heartbeat: None,
            minors: Some(vec![75, 76]),
            pictures: Pictures::Sent,
        }
    }

    #[test]
    fn slots_are_read_used_or_not() {
        let hosts = search(&Script::new().then(GET, list(UNUSED))).unwrap();
        assert_eq!(
            (hosts[0].used, hosts[0].host.as_deref(), hosts[0].port),
            (true, Some("10.0.0.1"), Some(80))
        );
        assert!(!hosts[1].used);
    }

    #[test]
    fn a_slot_is_written_by_itself_and_read_back() {
        let taken = UNUSED
            .replace("EHome", "HTTP")
            .replace("0.0.0.0", "10.0.0.9")
            .replace("<portNo>0", "<portNo>8080")
            .replace("<url></url>", "<url>/hook?k=1&amp;d=in</url>");
        let script = Script::new().then(GET, list(UNUSED)).then(PUT, answer(200, OK)).then(GET, list(&taken));
        assert!(set(&script, 2, &target()).unwrap().used);
        let body = script.body(1);
        assert!(body.contains("<url>/hook?k=1&amp;d=in</url>"), "{body}");
        assert!(
            body.contains("<minorEvent>0x4b,0x4c</minorEvent>") && body.contains("<minorAlarm></minorAlarm>")
        );
        assert!(body.contains("<intervalBetweenEvents>0</intervalBetweenEvents>"), "what is unknown is kept");
        script.finish();
    }

    #[test]
    fn a_slot_that_was_not_taken_is_put_back_and_said() {
        let script = Script::new()
            .then(GET, list(UNUSED))
            .then(PUT, answer(200, OK))
            .then(GET, list(UNUSED))
            .then(PUT, answer(200, OK))
            .then(GET, list(UNUSED));
        let error = set(&script, 2, &target()).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::VerificationFailed, Effect::None));
        assert_eq!(
            set(&Script::new().then(GET, list("")), 2, &target()).unwrap_err().kind,
            ErrorKind::NotFound
        );
    }

    #[test]
    fn pictures_stay_on_the_terminal_where_told() {
        let taken = UNUSED
            .replace("EHome", "HTTP")
            .replace("0.0.0.0", "10.0.0.9")
            .replace("<portNo>0", "<portNo>8080")
            .replace("<url></url>", "<url>/hook?k=1&amp;d=in</url>");
        for (pictures, word) in [(Pictures::Sent, "binary"), (Pictures::Kept, "localURL")] {
            let script =
                Script::new().then(GET, list(UNUSED)).then(PUT, answer(200, OK)).then(GET, list(&taken));
            set(&script, 2, &Target { pictures, ..target() }).unwrap();
            assert!(script.body(1).contains(&format!("<pictureURLType>{word}</pictureURLType>")));
        }
    }

    #[test]
    fn a_terminal_says_whether_it_reaches_its_receiver() {
        const TEST: &str = "POST /ISAPI/Event/notification/httpHosts/1/test";
        let said = |text: &str| {
            let body = format!(
                "<HttpHostTestResult version=\"2.0\"><errorDescription>{text}</errorDescription></HttpHostTestResult>"
            );
            let script = Script::new().then(GET, list(UNUSED)).then(TEST, answer(200, body));
            let tested = test(&script, 1);
            assert!(script.body(1).contains("<url>/old</url>"), "the slot as it stands");
            tested
        };
        assert_eq!((said("ok"), said("")), (Ok(()), Ok(())));
        let error = said("Connection refused").unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Offline, Effect::None));
        assert!(error.message.ends_with("Connection refused"), "{error:?}");
        let json = Script::new()
            .then(GET, list(UNUSED))
            .then(TEST, answer(200, r#"{"HttpHostTestResult":{"errorDescription":"timeout"}}"#));
        assert_eq!(test(&json, 1).unwrap_err().code.as_deref(), Some("isapi:receiver-not-reached"));
        let unused = Script::new().then(GET, list(UNUSED));
        assert_eq!(test(&unused, 2).unwrap_err().kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn an_address_that_terminals_cannot_take_is_not_sent() {
        for url in [
            "",
            "10.0.0.1/x",
            "http:///x",
            "http://u:p@h/x",
            "http://h:0/x",
            "http://h/a b",
            &format!("http://h/{}", "x".repeat(128)),
        ] {
            let target = Target { url: url.to_owned(), ..target() };
            assert_eq!(set(&Script::new(), 2, &target).unwrap_err().kind, ErrorKind::InvalidInput, "{url}");
        }
    }
}
