use anyhow::Result;
use bascule_sim::{Kind, LockBody, Terminal, USER};
use diqwest::WithDigestAuth as _;
use reqwest::Method;

use crate::{Said, ask, one, plain};

const INFO: &str = "/ISAPI/System/deviceInfo";

async fn wrong(terminal: &Terminal) -> Result<Said> {
    let request = reqwest::Client::new().get(format!("{}{INFO}", terminal.url()));
    Said::from(request.send_digest_auth((USER, "wrong")).await?).await
}

/// The text of an element.
fn element(text: &str, name: &str) -> Option<String> {
    Some(text.split(&format!("<{name}>")).nth(1)?.split('<').next()?.to_owned())
}

#[tokio::test]
async fn five_wrong_passwords_lock_the_account_even_for_the_right_one() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    let mut left = Vec::new();
    for _ in 0..5 {
        let said = wrong(terminal).await?;
        left.push(element(&said.text(), "retryLoginTime"));
    }
    assert_eq!(left, ["4", "3", "2", "1", "0"].map(|text| Some(text.to_owned())));
    let locked = ask(terminal, Method::GET, INFO, None).await?;
    assert_eq!((locked.status, element(&locked.text(), "lockStatus")), (401, Some("lock".to_owned())));
    let seconds = element(&locked.text(), "unlockTime").and_then(|text| text.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| (1_790..=1_800).contains(&seconds)), "{seconds:?}");
    assert_eq!(terminal.failed_logins(), 5, "a try while locked does not count");
    let kinds: Vec<Kind> = fleet.ledger().entries().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Locked).count(), 1);
    assert_eq!(kinds.last(), Some(&Kind::TriedWhileLocked));
    terminal.unlock();
    assert_eq!(ask(terminal, Method::GET, INFO, None).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_right_password_forgives_the_wrong_ones_and_probes_never_count() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    for _ in 0..3 {
        for _ in 0..4 {
            wrong(terminal).await?;
        }
        for _ in 0..9 {
            plain(format!("{}{INFO}", terminal.url())).await?;
        }
        assert_eq!(ask(terminal, Method::GET, INFO, None).await?.status, 200);
    }
    assert_eq!((terminal.failed_logins(), terminal.state().await.locked_for), (12, None));
    Ok(())
}

#[tokio::test]
async fn the_lock_is_told_in_each_of_its_forms() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.lock();
    let said = |body, status| async move {
        terminal.change(|quirks| (quirks.lock_body, quirks.lock_status) = (body, status));
        plain(format!("{}{INFO}", terminal.url())).await
    };
    let a = said(LockBody::A, 401).await?;
    assert!(
        a.text().contains("<userCheck version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\">"),
        "{}",
        a.text()
    );
    let b = said(LockBody::B, 403).await?;
    assert_eq!((b.status, element(&b.text(), "lockStatus")), (403, Some("locked".to_owned())));
    assert!(
        b.text().contains("http://www.std-cgi.org/ver20/XMLSchema") && b.text().contains("<resLockTime>")
    );
    let c = said(LockBody::C, 401).await?;
    assert!(!c.text().contains("lock") && c.text().contains("<statusValue>401</statusValue>"));
    let html = said(LockBody::Html, 401).await?;
    assert!(html.text().contains("Access Error: 401 -- Unauthorized"));
    Ok(())
}
