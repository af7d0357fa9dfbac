//! Certificates that an operator has looked at and pinned, per connection and peer.

use std::sync::Arc;

use bascule_database::{Database, DatabaseError};
use bascule_workflow::failure::{Failure, Kind};
use futures_util::FutureExt;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::{AddressRefused, CheckedResolver};
use super::connection::Inner;
use super::tls::{fingerprint, looking, parse_pin};
use super::wire::chain;

pub(crate) const STEPS: &[&str] = &["CREATE TABLE connection_pin (
     connection  TEXT NOT NULL,
     peer        TEXT NOT NULL,
     fingerprint TEXT NOT NULL,
     pinned_at   TEXT NOT NULL,
     PRIMARY KEY (connection, peer)
 ) STRICT, WITHOUT ROWID"];

fn unusable(error: &DatabaseError) -> Failure {
    Failure::new(Kind::Internal, format!("the pinned certificates cannot be read or written: {error}"))
        .with_code("host:database")
}

/// The pin of one peer, if there is one.
pub(crate) async fn stored(
    database: &Database,
    connection: &str,
    peer: &str,
) -> Result<Vec<String>, Failure> {
    sqlx::query_scalar("SELECT fingerprint FROM connection_pin WHERE connection = ? AND peer = ?")
        .bind(connection)
        .bind(peer)
        .fetch_all(database.readers())
        .await
        .map_err(|error| unusable(&error.into()))
}

/// Keeps a pin in place of an earlier one.
pub(crate) async fn store(
    database: &Database,
    connection: &str,
    peer: &str,
    fingerprint: &str,
) -> Result<(), Failure> {
    let Some(pin) = parse_pin(fingerprint) else {
        return Err(Failure::new(
            Kind::InvalidInput,
            format!("`{fingerprint}` is not a SHA-256 fingerprint"),
        ));
    };
    let (connection, peer) = (connection.to_owned(), peer.to_owned());
    database
        .write(move |tx| {
            async move {
                sqlx::query(
                    "INSERT INTO connection_pin (connection, peer, fingerprint, pinned_at) VALUES (?, ?, ?, ?)
                     ON CONFLICT (connection, peer) DO UPDATE
                     SET fingerprint = excluded.fingerprint, pinned_at = excluded.pinned_at",
                )
                .bind(connection)
                .bind(peer)
                .bind(pin)
                .bind(jiff::Timestamp::now().to_string())
                .execute(tx)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
        .map_err(|error| unusable(&error))
}

/// Makes a TLS handshake, sends nothing, and returns the fingerprint of the certificate shown.
pub(crate) async fn look(inner: &Inner) -> Result<String, Failure> {
    let peer = &inner.label;
    if !inner.target.is_encrypted() {
        return Err(Failure::new(
            Kind::InvalidInput,
            format!("connection `{}` does not use TLS: its url begins with http://", inner.name),
        ));
    }
    let offline = |text: String| Failure::new(Kind::Offline, text).with_code("host:offline");
    let host = inner.target.host.trim_matches(['[', ']']);
    let addresses = match host.parse() {
        // It was checked when the connection was made.
        Ok(address) => vec![address],
        Err(_name) => {
            let resolver = CheckedResolver {
                policy: Arc::clone(&inner.addresses),
                lookup: Arc::clone(&inner.shared.lookup),
            };
            resolver.addresses(host).await.map_err(|error| {
                match chain(&*error).iter().find_map(|error| error.downcast_ref::<AddressRefused>()) {
                    Some(refused) => {
                        Failure::new(Kind::Refused, format!("{peer}: {refused}")).with_code("host:address")
                    }
                    None => offline(format!("{peer}: its name has no address")),
                }
            })?
        }
    };
    let sockets: Vec<_> =
        addresses.into_iter().map(|address| std::net::SocketAddr::new(address, inner.target.port)).collect();
    let name = ServerName::try_from(host.to_owned()).map_err(|_bad| {
        Failure::new(Kind::InvalidInput, format!("{peer}: `{host}` is not a name TLS knows"))
    })?;
    let connector = TlsConnector::from(Arc::new(looking()?));
    let handshake = async {
        let mut last = None;
        for socket in sockets {
            match TcpStream::connect(socket).await {
                Ok(stream) => return connector.connect(name.clone(), stream).await,
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| std::io::ErrorKind::NotFound.into()))
    };
    let time = inner.entry.timeouts.connect.saturating_mul(2);
    let stream = tokio::time::timeout(time, handshake)
        .await
        .map_err(|_late| offline(format!("{peer} could not be reached in time")))?
        .map_err(|error| {
            let mut failure = offline(format!("{peer}: no TLS connection could be made: {error}"));
            if chain(&error).iter().any(|error| error.is::<rustls::Error>()) {
                failure.kind = Kind::Refused;
                failure.code = Some("host:tls".to_owned());
            }
            failure
        })?;
    let (_socket, session) = stream.get_ref();
    session
        .peer_certificates()
        .and_then(|certificates| certificates.first())
        .map(|certificate| fingerprint(certificate))
        .ok_or_else(|| Failure::new(Kind::Protocol, format!("{peer} showed no certificate")))
}
