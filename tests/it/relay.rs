//! A way in that stays at its port while the server behind it comes and goes, as a reverse proxy does. It keeps what it let
//! through, and can lose answers on the way back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::served::Served;

/// A request that reached the server, and what the server answered.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// What the sender wrote, as far as it was read.
    pub(crate) request: Vec<u8>,
    /// Everything that the server wrote.
    pub(crate) answer: Vec<u8>,
    /// Whether the sender was given the answer.
    pub(crate) delivered: bool,
}

impl Exchange {
    pub(crate) fn status(&self) -> u16 {
        let line = String::from_utf8_lossy(self.answer.get(..16).unwrap_or_default()).into_owned();
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Headers of the answer in lower case, and its body.
    pub(crate) fn answered(&self) -> (String, &[u8]) {
        let end = self.answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&self.answer[..end]).to_lowercase(), &self.answer[end + 4..])
    }
}

/// Sends one request at a time: whoever calls closes the connection behind it.
pub(crate) struct Relay {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    passed: watch::Sender<Vec<Exchange>>,
}

#[derive(Default)]
struct State {
    behind: Option<u16>,
    /// So many answers with status 200 are lost.
    losing: usize,
}

impl Relay {
    /// Nobody stands behind it yet: whoever calls is cut off.
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { state: Mutex::default(), passed: watch::Sender::new(Vec::new()) });
        let held = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(pass(caller, Arc::clone(&held)));
            }
        });
        Self { port, shared }
    }

    pub(crate) fn lead_to(&self, server: &Served) {
        self.state(|state| state.behind = server.url.rsplit(':').next().unwrap().parse().ok());
    }

    pub(crate) fn lead_nowhere(&self) {
        self.state(|state| state.behind = None);
    }

    /// The next answers with status 200 do not arrive.
    pub(crate) fn lose(&self, answers: usize) {
        self.state(|state| state.losing = answers);
    }

    fn state(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn passed(&self) -> Vec<Exchange> {
        self.shared.passed.borrow().clone()
    }

    pub(crate) async fn until(&self, enough: impl Fn(&[Exchange]) -> bool) {
        let mut passed = self.shared.passed.subscribe();
        let waiting = passed.wait_for(|passed| enough(passed));
        tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
    }
}

async fn pass(mut caller: TcpStream, shared: Arc<Shared>) {
    let behind = shared.state.lock().unwrap_or_else(PoisonError::into_inner).behind;
    let Some(behind) = behind else { return };
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", behind)).await else { return };
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    {
        let (mut from_server, mut to_server) = server.split();
        let asking = async {
            let mut piece = [0; 4096];
            loop {
                let read = caller.read(&mut piece).await.unwrap_or(0);
                if read == 0 || to_server.write_all(&piece[..read]).await.is_err() {
                    break std::future::pending::<()>().await;
                }
                request.extend(&piece[..read]);
            }
        };
        tokio::select! {
            () = asking => {}
            // A server that was killed cuts it off: what came until then is all there is.
            _read = from_server.read_to_end(&mut answer) => {}
        }
    }
    let mut exchange = Exchange { request, answer, delivered: true };
    if exchange.status() == 0 {
        return;
    }
    if exchange.status() == 200 {
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        exchange.delivered = state.losing == 0;
        state.losing = state.losing.saturating_sub(1);
    }
    if exchange.delivered {
        exchange.delivered = caller.write_all(&exchange.answer).await.is_ok();
    }
    shared.passed.send_modify(|passed| passed.push(exchange));
}
