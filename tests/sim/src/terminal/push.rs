//! The terminal sends its events by itself to the receivers in its slots, one after the other, each until it is taken
//! (`facts/isapi.md 5.4`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Device;
use super::alarm;
use super::answer::Call;
use super::extras::{Happening, element};
use crate::auth::{Algorithm, Parts, digest_response};
use crate::ledger::{Kind, Note};
use crate::quirks::Quirks;
use crate::wire::Answer;

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A longer answer is none that terminals understand.
const LONGEST_ANSWER: usize = 512;
const BOUNDARY: &str = "---------------------------7e13971310878";

/// A slot's receiver.
struct Receiver {
    peer: SocketAddr,
    target: String,
    xml: bool,
    authentication: String,
    user: String,
    password: String,
    pictures: bool,
    /// The numbers under major 5 that it wants; none for every event.
    minors: Option<Vec<u32>>,
}

impl Receiver {
    /// Only on this machine.
    fn of(slot: &str, quirks: &Quirks) -> Result<Option<Self>, String> {
        let read = |name: &str| element(slot, name).map(str::trim).unwrap_or_default().to_owned();
        let host =
            Some(read("ipAddress")).filter(|host| !host.is_empty()).unwrap_or_else(|| read("hostName"));
        let port: u16 = read("portNo").parse().unwrap_or(0);
        if port == 0 || host == "0.0.0.0" {
            return Ok(None);
        }
        let host = if host == "localhost" { "127.0.0.1".to_owned() } else { host };
        let address: IpAddr = host.parse().map_err(|_| format!("unknown host {host}"))?;
        if !address.is_loopback() || read("protocolType") != "HTTP" {
            return Err(format!("{host} cannot be reached"));
        }
        let number = |text: &str| {
            let text = text.trim();
            text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
        };
        let listed: Vec<u32> = read("minorEvent").split(',').filter_map(number).collect();
        let all = read("eventMode") != "list";
        let minors = match (all, listed.is_empty()) {
            (true, true) if quirks.events.numbers_needed => Some(Vec::new()),
            (true, _) => None,
            (false, _) => Some(listed),
        };
        let unescaped = read("url").replace("&amp;", "&");
        Ok(Some(Self {
            peer: SocketAddr::new(address, port),
            target: if unescaped.is_empty() { "/".to_owned() } else { unescaped },
            xml: read("parameterFormatType").eq_ignore_ascii_case("XML"),
            authentication: read("httpAuthenticationMethod"),
            user: read("userName"),
            password: read("password"),
            pictures: read("pictureURLType") == "binary",
            minors,
        }))
    }

    fn wants(&self, one: &Happening) -> bool {
        self.minors.as_ref().is_none_or(|minors| one.major == 5 && minors.contains(&one.minor))
    }

    /// Content type and body.
    fn message(&self, device: &Device, quirks: &Quirks, one: &Happening) -> (String, Vec<u8>) {
        let document = alarm::document(device, quirks, one, true);
        let (kind, text) = if self.xml {
            ("application/xml; charset=\"UTF-8\"", alarm::xml(quirks, &document))
        } else {
            ("application/json; charset=\"UTF-8\"", document.to_string())
        };
        let Some(picture) = alarm::picture(quirks, one).filter(|_| self.pictures) else {
            return (kind.to_owned(), text.into_bytes());
        };
        let (kind, blank) = if quirks.events.bare_form {
            (String::new(), "")
        } else {
            (format!("Content-Type: {kind}\r\n"), "\r\n")
        };
        let name = if self.xml { "AccessControllerEvent" } else { "event_log" };
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n{kind}{blank}{text}\r\n--{BOUNDARY}\r\n\
             Content-Disposition: form-data; name=\"Picture\"; filename=\"Picture.jpg\"\r\nContent-Type: image/jpeg\r\n\
             Content-Length: {}\r\n\r\n",
            picture.len()
        )
        .into_bytes();
        body.extend(&picture);
        body.extend(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    /// Posts it; the status and the length of the answer's body.
    async fn post(&self, kind: &str, body: &[u8]) -> Result<(u16, usize), String> {
        let first = self.authentication.eq_ignore_ascii_case("basic").then(|| {
            let pair =
                base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.user, self.password));
            format!("Basic {pair}")
        });
        let answer = self.exchange(kind, body, first.as_deref()).await?;
        if answer.status != 401 || !self.authentication.eq_ignore_ascii_case("MD5digest") {
            return Ok((answer.status, answer.length));
        }
        let challenge = answer.challenge.ok_or("401 without a digest challenge")?;
        let authorization = self.digest(&challenge);
        self.exchange(kind, body, Some(&authorization)).await.map(|answer| (answer.status, answer.length))
    }

    fn digest(&self, challenge: &str) -> String {
        let parameter = |name: &str| {
            let found = challenge.split(',').find_map(|piece| {
                let (key, value) = piece.trim().split_once('=')?;
                (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
            });
            found.unwrap_or_default()
        };
        let (realm, nonce, opaque) = (parameter("realm"), parameter("nonce"), parameter("opaque"));
        let (nc, cnonce) = ("00000001", "5ca1ab1e");
        let response = digest_response(&Parts {
            algorithm: Algorithm::Md5,
            user: &self.user,
            realm: &realm,
            password: &self.password,
            method: "POST",
            uri: &self.target,
            nonce: &nonce,
            protection: Some((nc, cnonce, "auth")),
        });
        format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{}\", response=\"{response}\", qop=auth, \
             nc={nc}, cnonce=\"{cnonce}\", algorithm=MD5, opaque=\"{opaque}\"",
            self.user, self.target
        )
    }

    async fn exchange(
        &self,
        kind: &str,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Result<Answered, String> {
        let authorization =
            authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{authorization}Connection: close\r\n\r\n",
            self.target,
            self.peer,
            body.len()
        );
        let talk = async {
            let mut stream = TcpStream::connect(self.peer).await.map_err(|error| error.to_string())?;
            stream.write_all(head.as_bytes()).await.map_err(|error| error.to_string())?;
            stream.write_all(body).await.map_err(|error| error.to_string())?;
            let mut answer = Vec::new();
            let mut piece = [0_u8; 4_096];
            while answer.len() < 64 * 1_024 {
                match stream.read(&mut piece).await.map_err(|error| error.to_string())? {
                    0 => break,
                    read => answer.extend(piece.get(..read).unwrap_or_default()),
                }
                if Answered::read(&answer).is_some_and(|answered| answered.whole) {
                    break;
                }
            }
            Answered::read(&answer).ok_or_else(|| "not an HTTP answer".to_owned())
        };
        tokio::time::timeout(PATIENCE, talk).await.map_err(|_| "no answer in time".to_owned())?
    }
}

struct Answered {
    status: u16,
    /// Bytes of body that came.
    length: usize,
    /// The digest challenge.
    challenge: Option<String>,
    /// As many as were promised.
    whole: bool,
}

impl Answered {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut lines);
        let Ok(httparse::Status::Complete(start)) = head.parse(bytes) else { return None };
        let value = |header: &httparse::Header<'_>| String::from_utf8_lossy(header.value).into_owned();
        let promised = head
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .and_then(|header| value(header).trim().parse::<usize>().ok());
        let challenge = head
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("www-authenticate"))
            .find_map(|header| value(header).strip_prefix("Digest ").map(str::to_owned));
        let length = bytes.len() - start;
        let whole = promised.is_some_and(|promised| length >= promised);
        Some(Self { status: head.code?, length, challenge, whole })
    }
}

/// Serves one slot until the end.
pub(crate) async fn serve(device: Arc<Device>, slot: usize, ended: CancellationToken) {
    let mut news = device.news.subscribe();
    loop {
        let quirks = device.quirks();
        let next = next(&device, slot, &quirks);
        let Some((receiver, one)) = next else {
            tokio::select! {
                () = ended.cancelled() => return,
                changed = news.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let taken = match &receiver {
            Ok(receiver) => {
                let (kind, body) = receiver.message(&device, &quirks, &one);
                tokio::select! {
                    () = ended.cancelled() => return,
                    answer = receiver.post(&kind, &body) => judged(&quirks, answer).map(|()| kind),
                }
            }
            Err(why) => Err(why.clone()),
        };
        let (kind, note) = match taken {
            Ok(kind) => (Kind::EventPushed, kind),
            Err(why) => (Kind::EventRefused, why),
        };
        let target = receiver.map_or_else(|_| String::new(), |receiver| receiver.target);
        let was_taken = kind == Kind::EventPushed;
        if was_taken {
            device.extras().delivered(slot, one.serial);
        }
        device.ledger.write(Note {
            device: device.id.clone(),
            kind,
            request: format!("POST {target}"),
            credential: "none".to_owned(),
            subject: Some(one.serial.to_string()),
            face: None,
            code: None,
            note: Some(note),
        });
        if !was_taken {
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(quirks.events.resend_ms)) => {}
            }
        }
    }
}

fn judged(quirks: &Quirks, answer: Result<(u16, usize), String>) -> Result<(), String> {
    match answer? {
        (_, length) if length > LONGEST_ANSWER => Err(format!("the answer has {length} bytes")),
        (200, _) => Ok(()),
        (201..=299, _) if !quirks.events.only_200 => Ok(()),
        (status, _) => Err(format!("HTTP {status}")),
    }
}

/// The oldest event that this slot wants and did not give away yet.
fn next(device: &Device, slot: usize, quirks: &Quirks) -> Option<(Result<Receiver, String>, Happening)> {
    if device.is_away.load(Ordering::SeqCst) {
        return None;
    }
    let mut extras = device.extras();
    let receiver = Receiver::of(extras.hosts.get(slot)?, quirks).transpose()?;
    loop {
        let one = extras.undelivered(slot)?.clone();
        if receiver.as_ref().map_or(true, |receiver| receiver.wants(&one)) {
            return Some((receiver, one));
        }
        extras.delivered(slot, one.serial);
    }
}

/// `POST httpHosts/N/test`: tries to reach the receiver, and says what came of it.
pub(super) async fn test(call: &Call<'_>, slot: &str) -> Answer {
    let number = slot.parse::<usize>().ok().and_then(|slot| slot.checked_sub(1));
    let stored = number.and_then(|number| call.device.extras().hosts.get(number).cloned());
    let Some(stored) = stored else { return call.error("badParameters", "id") };
    let given = String::from_utf8_lossy(&call.request.body).into_owned();
    let receiver = Receiver::of(element(&given, "HttpHostNotification").unwrap_or(&stored), call.quirks);
    let said = match receiver {
        Ok(None) => "the receiver is not set".to_owned(),
        Err(why) => why,
        Ok(Some(receiver)) => {
            let body = Bytes::from(alarm::heartbeat(call.device, call.quirks).to_string());
            match receiver.post("application/json", &body).await {
                Ok((200..=299, _)) => "ok".to_owned(),
                Ok((status, _)) => format!("HTTP {status}"),
                Err(why) => why,
            }
        }
    };
    let inner = format!("<errorDescription>{}</errorDescription>\n", super::answer::escaped(&said));
    call.xml(200, "HttpHostTestResult", &inner)
}
