//! A self-signed certificate, as devices have.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

/// The certificate of one or more listeners; it can be replaced while they run.
pub(crate) struct Identity(Mutex<Current>);

#[derive(Clone)]
struct Current {
    acceptor: TlsAcceptor,
    fingerprint: String,
}

impl Identity {
    /// Makes a certificate for `localhost` and 127.0.0.1.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Mutex::new(make()?)))
    }

    /// Replaces the certificate by another one, as after a factory reset.
    pub(crate) fn renew(&self) -> Result<()> {
        let made = make()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(())
    }

    /// sha256 of the certificate's DER, 64 lower-case hexadecimal digits.
    pub(crate) fn fingerprint(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fingerprint.clone()
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }
}

fn make() -> Result<Current> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    let certificate = made.cert.der().clone();
    let fingerprint = hex::encode(Sha256::digest(&certificate));
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Current { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint })
}
