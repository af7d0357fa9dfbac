//! Digest auth's rounds: probe, answer, reuse.

use std::time::Duration;

use bascule_workflow::failure::{Failure, Kind};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::login::Login;
use super::{Extent, Prepared};
use crate::auth::challenge::{self, Challenge, DigestChallenge};
use crate::auth::digest::{Session, Subject};
use crate::auth::lock;
use crate::credential::Source;
use crate::guard::Admission;
use crate::http::CallContext;
use crate::http::connection::Inner;
use crate::http::receive::Received;
use crate::http::wire::within;

enum Probed {
    Answer(Box<Received>),
    Challenge(Box<DigestChallenge>),
}

/// Why there is no challenge.
enum Unprobed {
    Locked(Duration),
    Failed(Failure),
}

impl From<Failure> for Unprobed {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Inner {
    pub(super) async fn digest_fresh(
        &self,
        request: &Prepared,
        login: Login<'_>,
        password: &Source,
        context: &CallContext,
    ) -> Result<Received, Failure> {
        let (login, admission) = self.admit(login, password, context).await?;
        match self.probe(request, &login, context).await {
            Ok(Probed::Answer(received)) => Ok(*received),
            Ok(Probed::Challenge(challenge)) => {
                let session = Session::new(*challenge)?;
                self.answered(request, &login, admission, session, context)
                    .await
                    .map(|(received, _session)| received)
            }
            Err(Unprobed::Locked(time)) => Err(self.locked(admission, time, &login).await),
            Err(Unprobed::Failed(failure)) => Err(failure),
        }
    }

    pub(super) async fn digest_reusing(
        &self,
        request: &Prepared,
        login: Login<'_>,
        password: &Source,
        context: &CallContext,
    ) -> Result<Received, Failure> {
        let (login, admission) = self.admit(login, password, context).await?;
        // One after the other: peers want `nc` to rise.
        let mut sessions = within(context, self.peer.sessions.lock()).await?;
        let mut fresh = None;
        if let Some(mut session) = sessions.remove(login.user) {
            let header = self.answer(&mut session, request, &login)?;
            let described = session.describe();
            let headers = vec![(AUTHORIZATION, header)];
            let mut received = self.once(request, headers, Extent::Whole, &self.target, context).await?;
            if received.status != 401 {
                sessions.insert(login.user.to_owned(), session);
                described.clone_into(&mut received.scheme);
                return self.judged(received, admission, &login, context).await;
            }
            // Not a failed login: the nonce was used before.
            let body = received.beginning(lock::SCAN_BYTES, context).await.unwrap_or_default();
            if let Some(time) = lock::read(&body).locked {
                return Err(self.locked(admission, time, &login).await);
            }
            let offered = challenges(received.raw_headers());
            match challenge::strongest(&offered).filter(|next| next.prompt.nonce != session.nonce()) {
                Some(next) => fresh = Some(self.accept(next)?),
                None => {
                    tracing::warn!(
                        peer = self.label,
                        "the peer does not take a nonce twice and counts it as a wrong login: `nonces: reuse` is off \
                         until the next start"
                    );
                    self.peer.set_refuses_reuse();
                }
            }
        }
        let challenge = match fresh {
            Some(challenge) => challenge,
            None => match self.probe(request, &login, context).await {
                Ok(Probed::Answer(received)) => return Ok(*received),
                Ok(Probed::Challenge(challenge)) => *challenge,
                Err(Unprobed::Locked(time)) => return Err(self.locked(admission, time, &login).await),
                Err(Unprobed::Failed(failure)) => return Err(failure),
            },
        };
        let session = Session::new(challenge)?;
        let (received, session) = self.answered(request, &login, admission, session, context).await?;
        if !self.peer.refuses_reuse() {
            sessions.insert(login.user.to_owned(), session);
        }
        Ok(received)
    }

    /// Asks for a challenge.
    async fn probe(
        &self,
        request: &Prepared,
        login: &Login<'_>,
        context: &CallContext,
    ) -> Result<Probed, Unprobed> {
        let mut received = self.once(request, Vec::new(), Extent::Probe, &self.target, context).await?;
        let has_body = !request.payload.is_empty();
        if received.status != 401 && has_body && !matches!(received.status, 300..=399 | 429 | 500..) {
            // Whatever the peer says to the empty request, the real one has not been made.
            let _unread = received.beginning(lock::SCAN_BYTES, context).await;
            received = self.once(request, Vec::new(), Extent::Whole, &self.target, context).await?;
        }
        if received.status != 401 {
            if received.status == 403
                && let Some(time) = self.lock_in(&mut received, context).await?
            {
                return Err(Unprobed::Locked(time));
            }
            "none asked for".clone_into(&mut received.scheme);
            return Ok(Probed::Answer(Box::new(received)));
        }
        let offered = challenges(received.raw_headers());
        let body = received.beginning(lock::SCAN_BYTES, context).await?;
        if let Some(time) = lock::read(&body).locked {
            return Err(Unprobed::Locked(time));
        }
        let Some(best) = challenge::strongest(&offered) else {
            let peer = &self.label;
            let text = if challenge::offers(&offered, "digest") {
                format!("{peer} offers a digest challenge that cannot be answered")
            } else if challenge::offers(&offered, "basic") {
                format!("{peer}: the device offers only Basic; set auth: basic if you accept that")
            } else {
                format!("{peer} refused the request without offering a way to log in as `{}`", login.user)
            };
            return Err(self.unauthorized(text, &received, &body).into());
        };
        self.peer.set_challenged();
        Ok(Probed::Challenge(Box::new(self.accept(best)?)))
    }

    /// Refuses a weaker algorithm than the peer has offered before.
    fn accept(&self, offered: DigestChallenge) -> Result<DigestChallenge, Failure> {
        let before = self.peer.remember_strength(offered.strength());
        if offered.strength() < before {
            return Err(Failure::new(
                Kind::Refused,
                format!(
                    "{} offered a stronger digest algorithm before and now only {}: somebody may be in between; if \
                     the device was set so, restart",
                    self.label, offered.prompt.algorithm
                ),
            )
            .with_code("host:downgrade"));
        }
        Ok(offered)
    }

    fn answer(
        &self,
        session: &mut Session,
        request: &Prepared,
        login: &Login<'_>,
    ) -> Result<HeaderValue, Failure> {
        session.answer(&Subject {
            user: login.user,
            password: &login.password,
            method: request.method.name(),
            uri: &request.uri(),
            body: request.payload.at_hand(),
        })
    }

    /// Sends with an answer to a fresh challenge, and once more where the peer calls that stale.
    async fn answered(
        &self,
        request: &Prepared,
        login: &Login<'_>,
        mut admission: Admission<'_>,
        mut session: Session,
        context: &CallContext,
    ) -> Result<(Received, Session), Failure> {
        self.shared.hide_ha1(&session.ha1(login.user, &login.password));
        admission.announce().await?;
        let mut was_stale = false;
        loop {
            let header = self.answer(&mut session, request, login)?;
            let headers = vec![(AUTHORIZATION, header)];
            let mut received = match self.once(request, headers, Extent::Whole, &self.target, context).await {
                Ok(received) => received,
                Err(failure) => {
                    admission.undecided().await?;
                    return Err(failure);
                }
            };
            session.describe().clone_into(&mut received.scheme);
            if received.status == 401 && !was_stale {
                let next = challenge::strongest(&challenges(received.raw_headers()))
                    .filter(|next| next.prompt.stale && next.prompt.nonce != session.nonce());
                if let Some(next) = next {
                    let body = received.beginning(lock::SCAN_BYTES, context).await?;
                    if let Some(time) = lock::read(&body).locked {
                        return Err(self.locked(admission, time, login).await);
                    }
                    was_stale = true;
                    session = Session::new(self.accept(next)?)?;
                    continue;
                }
            }
            return Ok((self.judged(received, admission, login, context).await?, session));
        }
    }
}

fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    challenge::parse(headers.get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes))
}
