//! The server: bound, serving, and coming to an end in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::hooks::{self, Receiver};
use crate::state::{ServerParts, Shared};
use crate::{api, listen};

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Address {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system has no random numbers.
    #[error("the webhooks cannot be made ready")]
    Random(#[source] std::io::Error),
}

/// A server that takes requests.
pub struct Server {
    address: SocketAddr,
    webhooks: usize,
    shared: Arc<Shared>,
    stop: CancellationToken,
    give_up: CancellationToken,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Binds the address (port 0: any free one) and begins to serve.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(address: SocketAddr, parts: ServerParts) -> Result<Self, BindError> {
        let failed = |source| BindError::Address { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let receiver = Receiver::new().map_err(BindError::Random)?;
        let shared = Arc::new(Shared {
            parts,
            receiver,
            open: CancellationToken::new(),
            closing: CancellationToken::new(),
        });
        let webhooks = hooks::prepare(&shared);
        let router = api::router(&shared);
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(listen::serve(
            listener,
            router,
            listen::Limits::default(),
            (stop.clone(), give_up.clone()),
        ));
        Ok(Self { address, webhooks, shared, stop, give_up, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many webhooks it serves.
    #[must_use]
    pub fn webhooks(&self) -> usize {
        self.webhooks
    }

    /// From now on `/ready` says so. Until then it says that the server is starting; what comes in meanwhile is taken.
    pub fn open(&self) {
        self.shared.open.cancel();
    }

    /// From now on deliveries and starts are answered with 503, and whoever waits for a result is told that it is
    /// accepted. Reading and cancelling go on.
    pub fn close_intake(&self) {
        self.shared.closing.cancel();
    }

    /// Takes no more connections and answers what was asked, at most so long.
    pub async fn stop(self, within: Duration) {
        self.close_intake();
        self.stop.cancel();
        let give_up = self.give_up;
        let mut task = self.task;
        let in_time = tokio::select! {
            ended = &mut task => { report(ended); true }
            () = tokio::time::sleep(within) => false,
        };
        if !in_time {
            give_up.cancel();
            report(task.await);
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the server's task ended early");
    }
}
