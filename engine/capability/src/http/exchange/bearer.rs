//! Tokens: fetched once for all who wait, renewed before they end, renewed once when the peer says so.

use std::time::Duration;

use bascule_workflow::failure::{Effect, Failure, Kind};
use reqwest::header::{HeaderName, HeaderValue};

use super::{Extent, Prepared};
use crate::auth::{header, lock, token};
use crate::http::connection::Inner;
use crate::http::outgoing::Payload;
use crate::http::receive::Received;
use crate::http::{CallContext, Method, within};
use crate::policy;

/// When to ask again for a token that was not given although key and secret are right; peers do not say.
const RETRY_AFTER: Duration = Duration::from_secs(60);

impl Inner {
    pub(super) async fn bearer(
        &self,
        request: &Prepared,
        exchange: &token::Exchange,
        context: &CallContext,
    ) -> Result<Received, Failure> {
        let name = HeaderName::from_bytes(exchange.header.as_bytes()).map_err(|_bad| {
            let text = format!("connection `{}`: `{}` is not a header name", self.name, exchange.header);
            Failure::new(Kind::InvalidInput, text)
        })?;
        let mut spent = None;
        loop {
            let token = self.token(exchange, spent, context).await?;
            let moved = token.origin.as_ref().and_then(|origin| self.target.moved_to(origin));
            let target = moved.as_ref().unwrap_or(&self.target);
            self.check_literal(target)?;
            let headers =
                vec![(name.clone(), header::value(&exchange.header, &exchange.prefix, &token.value)?)];
            let mut received = self.once(request, headers, Extent::Whole, target, context).await?;
            if received.status != 401 {
                received.token_generation = Some(token.generation);
                return Ok(received);
            }
            let body = received.beginning(lock::SCAN_BYTES, context).await.unwrap_or_default();
            if spent.is_some() {
                return Err(self.unauthorized(
                    format!("{} refused a token it gave", self.label),
                    &received,
                    &body,
                ));
            }
            spent = Some(token.generation);
        }
    }

    /// The current token, or a new one where there is none, it ends soon, or it is the one that was `spent`. Whoever
    /// comes while one is being fetched waits for that one.
    async fn token(
        &self,
        exchange: &token::Exchange,
        spent: Option<u64>,
        context: &CallContext,
    ) -> Result<token::Token, Failure> {
        let mut slot = within(context, self.peer.token.lock()).await?;
        let now = tokio::time::Instant::now();
        if let Some(token) = &*slot
            && Some(token.generation) != spent
            && token.renew_at.is_none_or(|at| at > now)
        {
            return Ok(token.clone());
        }
        let mut token = self.fetch_token(exchange, context).await?;
        token.generation = slot.as_ref().map_or(1, |old| old.generation + 1);
        self.shared.secrets.redactor().add(&token.value);
        *slot = Some(token.clone());
        Ok(token)
    }

    /// The token of that generation is no longer good.
    pub(crate) async fn spend_token(&self, generation: u64) {
        let mut slot = self.peer.token.lock().await;
        if let Some(token) = slot.as_mut().filter(|token| token.generation == generation) {
            token.renew_at = Some(tokio::time::Instant::now());
        }
    }

    async fn fetch_token(
        &self,
        exchange: &token::Exchange,
        context: &CallContext,
    ) -> Result<token::Token, Failure> {
        let mut body = serde_json::Map::new();
        let mut secrets = Vec::new();
        let mut mend = String::new();
        for (name, field) in &exchange.body {
            let value = match field {
                token::Field::Text(text) => text.clone(),
                token::Field::Secret(source) => {
                    let secret = self.reveal(source).await?;
                    mend = source.how_to_mend();
                    let value = secret.expose().to_owned();
                    secrets.push(secret);
                    value
                }
            };
            body.insert(name.clone(), value.into());
        }
        policy::check_path(&exchange.path).map_err(|fault| {
            Failure::new(Kind::InvalidInput, format!("connection `{}`: auth.token.path: {fault}", self.name))
        })?;
        let fingerprint = self.shared.guard.fingerprint(&secrets);
        let admitted =
            self.shared.guard.admit(&self.account, fingerprint, &self.wording(&mend), context).await;
        let mut admission = admitted.inspect_err(|_refused| self.shared.forget_credentials())?;
        admission.announce().await?;
        let body = serde_json::Value::Object(body).to_string();
        let request = Prepared {
            method: Method::Post,
            path: format!("{}{}", self.target.base_path, exchange.path),
            query: String::new(),
            query_fields: Vec::new(),
            form_fields: Vec::new(),
            headers: self.standing_headers()?,
            content_type: Some(HeaderValue::from_static("application/json")),
            payload: Payload::Whole(body.into()),
            silence: self.entry.timeouts.normal,
            min_rate: self.entry.min_bytes_per_second,
        };
        let answer = async {
            let mut received = self.once(&request, Vec::new(), Extent::Whole, &self.target, context).await?;
            let body = received.whole(self.entry.max_response_bytes.min(1 << 20), context).await?;
            Ok((received, body))
        };
        // A lost answer to this request changes nothing that a workflow asked for.
        let (received, body) =
            match answer.await.map_err(|failure: Failure| failure.with_effect(Effect::None)) {
                Ok(answer) => answer,
                Err(failure) => {
                    admission.undecided().await?;
                    return Err(failure);
                }
            };
        let status = received.status;
        if !matches!(status, 200..=299 | 400 | 401 | 403) {
            admission.undecided().await?;
            let kind = if matches!(status, 429 | 500..) { Kind::Busy } else { Kind::Protocol };
            return Err(Failure::new(kind, format!("{} gave no token: status {status}", self.label))
                .with_details(serde_json::json!({ "status": status, "answer": self.words(&body) })));
        }
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let read = match exchange.read(&answer, &self.target.base, (self.shared.clock)()) {
            Ok(read) if status < 300 => read,
            Ok(_no_token) => None,
            Err(failure) => {
                admission.undecided().await?;
                return Err(failure);
            }
        };
        match read {
            Some(token) => {
                admission.good().await?;
                Ok(token)
            }
            None if status < 300
                && let Some(code) = exchange.other_trouble(&answer) =>
            {
                admission.undecided().await?;
                let text =
                    format!("{} gave no token for now: it answered `{}`", self.label, code.escape_debug());
                Err(Failure::new(Kind::Busy, text)
                    .with_code("host:no-token")
                    .with_retry_after(RETRY_AFTER)
                    .with_details(serde_json::json!({ "status": status, "answer": self.words(&body) })))
            }
            None => {
                admission.bad().await?;
                self.shared.forget_credentials();
                Err(self.unauthorized(
                    format!("{} gave no token: check {mend}", self.label),
                    &received,
                    &body,
                ))
            }
        }
    }
}
