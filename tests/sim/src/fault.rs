//! Mishaps on order: the next requests that fit go wrong in a chosen way.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::quirks::{Drip, Length};
use crate::wire::{Answer, Reply, Request};

/// An order for mishaps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Requests whose path begins with this, in any case; empty for all.
    #[serde(default)]
    pub path: String,
    /// Only this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Only requests that carry an `Authorization` header, which spares the probes for a challenge.
    #[serde(default)]
    pub authorized: bool,
    /// So many fitting requests are let through first.
    #[serde(default)]
    pub skip: u32,
    /// So many go wrong; 0 for all from then on.
    #[serde(default = "once")]
    pub times: u32,
    /// The request takes effect and only its answer suffers.
    #[serde(default)]
    pub after_effect: bool,
    /// What goes wrong.
    pub mishap: Mishap,
}

fn once() -> u32 {
    1
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mishap {
    /// A TCP reset instead of an answer.
    Reset,
    /// No answer at all.
    Silence,
    /// Bytes that are not HTTP.
    Garbage,
    /// An HTML page with status 200.
    Html,
    /// This status and body.
    Status {
        /// The HTTP status.
        status: u16,
        /// The body.
        #[serde(default)]
        body: String,
        /// Its type.
        #[serde(default)]
        content_type: String,
        /// Further headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// The answer's body ends after so many bytes, and the connection with it. The request takes effect.
    Cut {
        /// Bytes of the body.
        after: usize,
    },
    /// The answer comes in drops. The request takes effect.
    Slow(Drip),
    /// The answer's `Content-Length` is not the truth. The request takes effect.
    Length(Length),
    /// The answer is late; with `after_effect` the effect is not. The request takes effect.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
}

/// The orders of one peer.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn order(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The mishap of this request, if its turn has come.
    pub(crate) fn take(&self, request: &Request) -> Option<Fault> {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let path = request.path().to_ascii_lowercase();
        let place = orders.iter().position(|fault| {
            path.starts_with(&fault.path.to_ascii_lowercase())
                && fault.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&request.method))
                && (!fault.authorized || request.header("authorization").is_some())
        })?;
        let fault = orders.get_mut(place)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let taken = fault.clone();
        if fault.times == 1 {
            orders.remove(place);
        } else {
            fault.times = fault.times.saturating_sub(1);
        }
        Some(taken)
    }
}

impl Fault {
    /// What goes back instead of doing anything, unless the mishap only spoils an answer.
    pub(crate) async fn instead(&self) -> Option<Reply> {
        match &self.mishap {
            _ if self.after_effect => None,
            Mishap::Delay { ms } => {
                tokio::time::sleep(std::time::Duration::from_millis(*ms)).await;
                None
            }
            mishap => mishap.reply(),
        }
    }

    /// The answer, spoilt.
    pub(crate) async fn spoil(&self, reply: Reply) -> Reply {
        if let Some(replaced) = self.mishap.reply() {
            return replaced;
        }
        if let (Mishap::Delay { ms }, true) = (&self.mishap, self.after_effect) {
            tokio::time::sleep(std::time::Duration::from_millis(*ms)).await;
        }
        let mut answer = match reply {
            Reply::Answer(answer) => answer,
            Reply::Generated(mut generated) => {
                match self.mishap {
                    Mishap::Cut { after } => generated.cut_after = Some(after as u64),
                    Mishap::Slow(drip) => generated.slow = Some(drip),
                    Mishap::Length(length) => generated.length = length,
                    _ => {}
                }
                return Reply::Generated(generated);
            }
            other => return other,
        };
        match self.mishap {
            Mishap::Cut { after } => answer.delivery.cut_after = Some(after),
            Mishap::Slow(drip) => answer.delivery.slow = Some(drip),
            Mishap::Length(length) => answer.delivery.length = length,
            _ => {}
        }
        answer.into()
    }
}

impl Mishap {
    fn reply(&self) -> Option<Reply> {
        match self {
            Self::Reset => Some(Reply::Reset),
            Self::Silence => Some(Reply::Silence),
            Self::Garbage => {
                Some(Reply::Raw(Bytes::from_static(b"\x16\x03\x01\0garbage\r\n\xff\xfe\r\n\r\n")))
            }
            Self::Html => Some(html(200, "Welcome").into()),
            Self::Status { status, body, content_type, headers } => {
                let mut answer = Answer::new(*status, content_type, body.clone());
                answer.headers.extend(headers.iter().cloned());
                Some(answer.into())
            }
            Self::Cut { .. } | Self::Slow(_) | Self::Length(_) | Self::Delay { .. } => None,
        }
    }
}

/// A page as device web servers make them.
pub(crate) fn html(status: u16, title: &str) -> Answer {
    let body = format!(
        "<!DOCTYPE html>\r\n<html><head><title>Document Error: {title}</title></head>\r\n\
         <body><h2>Access Error: {status} -- {title}</h2>\r\n</body></html>\r\n"
    );
    Answer::new(status, "text/html", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str) -> Request {
        Request {
            method: "PUT".to_owned(),
            target: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            chunked: false,
            nth: 1,
        }
    }

    #[test]
    fn a_fault_lets_some_through_then_strikes_and_is_used_up() -> Result<(), serde_json::Error> {
        let faults = Faults::default();
        let order = serde_json::json!({ "path": "/isapi/x", "skip": 1, "times": 2, "mishap": "reset" });
        faults.order(serde_json::from_value(order)?);
        let struck = ["/ISAPI/X/1", "/other", "/ISAPI/X/2", "/ISAPI/X/3", "/ISAPI/X/4"]
            .map(|path| faults.take(&request(path)).is_some());
        assert_eq!(struck, [false, false, true, true, false]);
        Ok(())
    }

    #[tokio::test]
    async fn a_mishap_after_the_effect_replaces_only_the_answer() -> Result<(), serde_json::Error> {
        let fault: Fault =
            serde_json::from_value(serde_json::json!({ "after_effect": true, "mishap": "reset" }))?;
        assert!(fault.instead().await.is_none());
        assert!(matches!(fault.spoil(Answer::empty(200).into()).await, Reply::Reset));
        Ok(())
    }
}
