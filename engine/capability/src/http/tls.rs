//! Whom a TLS connection is believed: the system's roots, a CA file, or the fingerprint of one certificate. There is
//! no way to believe everybody.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project::Tls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate (DER) in lower-case hexadecimal.
pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// The certificate is another one than the pinned.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not the pinned one: presented is sha256:{presented}")]
pub(crate) struct PinMismatch {
    pub(crate) presented: String,
}

/// What to put into a client.
pub(crate) enum Trust {
    /// The system's roots.
    System,
    /// The certificates of `tls.ca`.
    Roots(Vec<reqwest::Certificate>),
    /// `tls.pin`, or a peer that is not spoken TLS with at all.
    Config(Box<ClientConfig>),
}

impl Trust {
    /// For a connection without TLS: believes nobody, and spares reading the system's roots. All of them share one
    /// configuration, which keeps nothing about anybody: one of its own takes 14 KB for each peer.
    pub(crate) fn nobody() -> Result<Self, Failure> {
        static NOBODY: OnceLock<ClientConfig> = OnceLock::new();
        if let Some(known) = NOBODY.get() {
            return Ok(Self::Config(Box::new(known.clone())));
        }
        let made = client(Taken::Pinned(Vec::new()))?;
        Ok(Self::Config(Box::new(NOBODY.get_or_init(|| made).clone())))
    }

    pub(crate) async fn of(
        tls: &Tls,
        stored_pins: Vec<String>,
        root: &Path,
        connection: &str,
    ) -> Result<Self, Failure> {
        let wrong =
            |text: String| Failure::new(Kind::InvalidInput, format!("connection `{connection}`: {text}"));
        let mut pins = Vec::new();
        for pin in tls.pins.iter().chain(&stored_pins) {
            pins.push(
                parse_pin(pin)
                    .ok_or_else(|| wrong(format!("`{pin}` is not a pin: sha256: and 64 digits")))?,
            );
        }
        if !pins.is_empty() {
            return Ok(Self::Config(Box::new(client(Taken::Pinned(pins))?)));
        }
        let Some(file) = &tls.ca_file else {
            return Ok(Self::System);
        };
        let text = tokio::fs::read(root.join(file))
            .await
            .map_err(|error| wrong(format!("cannot read the CA file `{file}`: {error}")))?;
        let roots = reqwest::Certificate::from_pem_bundle(&text)
            .map_err(|_unreadable| wrong(format!("the CA file `{file}` is not PEM")))?;
        if roots.is_empty() {
            return Err(wrong(format!("there is no certificate in the CA file `{file}`")));
        }
        Ok(Self::Roots(roots))
    }
}

/// 64 hexadecimal digits in lower case, from `sha256:..` with or without colons between bytes.
pub(crate) fn parse_pin(text: &str) -> Option<String> {
    let digits = text.trim();
    let digits = digits.strip_prefix("sha256:").or_else(|| digits.strip_prefix("SHA256:")).unwrap_or(digits);
    let digits: String = digits.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
    (digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn client(taken: Taken) -> Result<ClientConfig, Failure> {
    let provider = provider();
    let verifier = Arc::new(ByCertificate { taken, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(Kind::Internal, format!("TLS cannot be set up: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A configuration that completes a handshake with anybody, for looking at a certificate. Nothing is sent over it.
pub(crate) fn looking() -> Result<ClientConfig, Failure> {
    client(Taken::Any)
}

/// Which certificates are taken.
#[derive(Debug)]
enum Taken {
    /// The pinned ones and nothing else.
    Pinned(Vec<String>),
    /// Any: only for looking at it.
    Any,
}

/// Goes by the certificate alone; names and dates are not looked at, but the peer must prove that it has the certificate's
/// key.
#[derive(Debug)]
struct ByCertificate {
    taken: Taken,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Taken::Pinned(pins) = &self.taken else {
            return Ok(ServerCertVerified::assertion());
        };
        let presented = fingerprint(end_entity);
        if pins.contains(&presented) {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = OtherError(Arc::new(PinMismatch { presented }));
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(mismatch)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_as_people_paste_them() {
        let plain = "ab".repeat(32);
        for text in [
            plain.clone(),
            format!("sha256:{plain}"),
            format!(" sha256:{} ", plain.to_uppercase()),
            format!("sha256:{}", vec!["AB"; 32].join(":")),
        ] {
            assert_eq!(parse_pin(&text), Some(plain.clone()), "{text}");
        }
        for text in ["", "sha256:", "sha256:abc", &"g".repeat(64), &"a".repeat(63), &format!("md5:{plain}")] {
            assert_eq!(parse_pin(text), None, "{text}");
        }
    }
}
