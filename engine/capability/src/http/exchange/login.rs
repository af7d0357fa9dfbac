//! Logins that the lock-out guard watches: Basic's own, and what the others share.

use std::time::Duration;

use bascule_workflow::failure::{Failure, Kind};

use super::{Extent, Prepared};
use crate::auth::{basic, lock};
use crate::credential::Source;
use crate::guard::{Admission, Fingerprint, Wording, device_locked};
use crate::http::CallContext;
use crate::http::connection::Inner;
use crate::http::receive::Received;
use crate::secret::Secret;

/// Credentials of a login that the guard watches.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) password: Secret,
    pub(super) fingerprint: Fingerprint,
    pub(super) mend: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// A secret that was read a moment ago will do.
    Kept,
    Anew,
}

impl Inner {
    pub(super) async fn basic(
        &self,
        request: &Prepared,
        user: &str,
        password: &Source,
        context: &CallContext,
    ) -> Result<Received, Failure> {
        let login = self.login(user, password, Freshness::Kept).await?;
        let (login, mut admission) = self.admit(login, password, context).await?;
        let header = basic::authorization(login.user, &login.password)?;
        self.shared.secrets.redactor().add_basic(login.user, &login.password);
        admission.announce().await?;
        let headers = vec![(reqwest::header::AUTHORIZATION, header)];
        match self.once(request, headers, Extent::Whole, &self.target, context).await {
            Ok(received) => self.judged(received, admission, &login, context).await,
            Err(failure) => {
                admission.undecided().await?;
                Err(failure)
            }
        }
    }

    pub(super) async fn login<'a>(
        &self,
        user: &'a str,
        password: &Source,
        fresh: Freshness,
    ) -> Result<Login<'a>, Failure> {
        if fresh == Freshness::Anew {
            self.shared.forget_credentials();
        }
        let mend = password.how_to_mend();
        let password = self.reveal(password).await?;
        let fingerprint = self.shared.guard.fingerprint([&password]);
        Ok(Login { user, password, fingerprint, mend })
    }

    /// Passes the guard; if it says no, the secret may have been changed a moment ago.
    pub(super) async fn admit<'l>(
        &self,
        login: Login<'l>,
        password: &Source,
        context: &CallContext,
    ) -> Result<(Login<'l>, Admission<'_>), Failure> {
        let refused = match self
            .shared
            .guard
            .admit(&self.account, login.fingerprint, &self.wording(&login.mend), context)
            .await
        {
            Ok(admission) => return Ok((login, admission)),
            Err(failure) if failure.kind == Kind::LockedOut => failure,
            Err(failure) => return Err(failure),
        };
        let anew = self.login(login.user, password, Freshness::Anew).await?;
        if anew.fingerprint == login.fingerprint {
            return Err(refused);
        }
        let admission = self
            .shared
            .guard
            .admit(&self.account, anew.fingerprint, &self.wording(&anew.mend), context)
            .await?;
        Ok((anew, admission))
    }

    /// Tells the guard what an answer to credentials means.
    pub(super) async fn judged(
        &self,
        mut received: Received,
        admission: Admission<'_>,
        login: &Login<'_>,
        context: &CallContext,
    ) -> Result<Received, Failure> {
        match received.status {
            401 => {
                let body = received.beginning(lock::SCAN_BYTES, context).await.unwrap_or_default();
                let note = lock::read(&body);
                if let Some(time) = note.locked {
                    return Err(self.locked(admission, time, login).await);
                }
                let count = admission.bad().await?;
                self.shared.forget_credentials();
                let left = note
                    .tries_left
                    .map(|left| format!("; the device leaves {left} more"))
                    .unwrap_or_default();
                Err(self.unauthorized(
                    format!(
                        "{} refused the login of `{}`: wrong user or password (failed {count} of the 2 times that are \
                         tried in 30 min{left}); set the right secret with {}",
                        self.label, login.user, login.mend
                    ),
                    &received,
                    &body,
                ))
            }
            403 => {
                if let Some(time) = self.lock_in(&mut received, context).await? {
                    return Err(self.locked(admission, time, login).await);
                }
                admission.undecided().await?;
                Ok(received)
            }
            500.. => {
                admission.undecided().await?;
                Ok(received)
            }
            _ => {
                admission.good().await?;
                Ok(received)
            }
        }
    }

    /// How long a 403 says that the account is locked.
    pub(super) async fn lock_in(
        &self,
        received: &mut Received,
        context: &CallContext,
    ) -> Result<Option<Duration>, Failure> {
        let body = received.whole(self.entry.max_response_bytes, context).await?;
        let locked = lock::read(&body).locked;
        received.put_back(body);
        Ok(locked)
    }

    pub(super) async fn locked(
        &self,
        admission: Admission<'_>,
        time: Duration,
        login: &Login<'_>,
    ) -> Failure {
        match admission.locked(time).await {
            Ok(()) => device_locked(&self.wording(&login.mend), time),
            Err(failure) => failure,
        }
    }

    pub(super) fn wording<'a>(&'a self, mend: &'a str) -> Wording<'a> {
        Wording { peer: &self.label, mend }
    }
}
