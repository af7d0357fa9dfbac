//! The front door: tokens and nothing else (facts B1).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{HikPartner, PARTNER_KEY, PARTNER_SECRET, token};
use crate::fault::html;
use crate::ledger::Kind;
use crate::wire::{Answer, Peer, Reply, Request};

/// The port that an integrator's key and secret go to.
pub(crate) struct Front(pub(crate) Arc<HikPartner>);

impl Front {
    fn respond(&self, request: &Request) -> Answer {
        let platform = &self.0;
        let quirks = platform.quirks();
        let path = request.path().strip_prefix("/api/hpcgw/").unwrap_or_default();
        if request.method != "POST" || path != token::PATH {
            return html(404, "Not Found");
        }
        let refuse = |code: &str| {
            platform.note(request, Kind::KeyRefused, "", Some(code), "token");
            Answer::json(200, &json!({ "errorCode": code }))
        };
        if let Some(code) = &quirks.no_token {
            return refuse(code);
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if body["appKey"] != PARTNER_KEY {
            return refuse("LAP300001");
        }
        if body["secretKey"] != PARTNER_SECRET {
            return refuse("LAP300002");
        }
        let (token, ends) = platform.tokens().give(&quirks);
        platform.note(request, Kind::TokenGiven, "", None, "");
        let area = quirks.area_domain.unwrap_or_else(|| platform.area_url().to_owned());
        let data = json!({ "accessToken": token, "expireTime": ends, "areaDomain": area });
        Answer::json(200, &json!({ "data": data, "errorCode": "0" }))
    }
}

impl Peer for Front {
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply> {
        async move {
            self.0.requests.fetch_add(1, Ordering::Relaxed);
            let fault = self.0.faults.take(&request);
            if let Some(fault) = &fault
                && let Some(reply) = fault.instead().await
            {
                return reply;
            }
            let reply = self.respond(&request).into();
            match fault {
                Some(fault) => fault.spoil(reply).await,
                None => reply,
            }
        }
        .boxed()
    }
}
