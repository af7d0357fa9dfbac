use anyhow::Result;
use bascule_sim::{
    Algorithm, Algorithms, Basic, ChallengeForm, DeadNonce, DigestParts, Fleet, Kind, PASSWORD, Quirks,
    Terminal, USER, digest_response,
};
use reqwest::Method;

use crate::{Said, ask, one, plain};

const INFO: &str = "/ISAPI/System/deviceInfo";

/// A parameter of a challenge.
fn told(challenge: &str, name: &str) -> String {
    let rest = challenge.split(&format!("{name}=\"")).nth(1).unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// A hand-made digest client, for what a good client never sends.
struct Hand {
    realm: String,
    nonce: String,
    opaque: String,
}

impl Hand {
    async fn challenged(terminal: &Terminal, path: &str) -> Result<Self> {
        let said = plain(format!("{}{path}", terminal.url())).await?;
        assert_eq!(said.status, 401);
        let challenge = said.header("www-authenticate");
        Ok(Self {
            realm: told(challenge, "realm"),
            nonce: told(challenge, "nonce"),
            opaque: told(challenge, "opaque"),
        })
    }

    async fn ask(&self, terminal: &Terminal, path: &str, signed: &str, nc: &str) -> Result<Said> {
        let response = digest_response(&DigestParts {
            algorithm: Algorithm::Md5,
            user: USER,
            realm: &self.realm,
            password: PASSWORD,
            method: "GET",
            uri: signed,
            nonce: &self.nonce,
            protection: Some((nc, "c0ffee", "auth")),
        });
        let header = format!(
            "Digest username=\"{USER}\", realm=\"{}\", nonce=\"{}\", uri=\"{signed}\", qop=auth, nc={nc}, cnonce=\"c0ffee\", \
             response=\"{response}\", opaque=\"{}\", algorithm=MD5",
            self.realm, self.nonce, self.opaque
        );
        let request =
            reqwest::Client::new().get(format!("{}{path}", terminal.url())).header("authorization", header);
        Said::from(request.send().await?).await
    }
}

#[tokio::test]
async fn an_independent_client_gets_in_with_every_form_of_challenge() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    for challenge in [ChallengeForm::Ipc, ChallengeForm::Nvr, ChallengeForm::AxPro, ChallengeForm::NoQop] {
        for algorithm in [Algorithms::Md5, Algorithms::Sha256, Algorithms::BothHeaders] {
            terminal.change(|quirks| *quirks = Quirks { challenge, algorithm, ..Quirks::default() });
            let said = ask(terminal, Method::GET, "/ISAPI/System/deviceInfo?format=json", None).await?;
            assert_eq!(said.status, 200, "{challenge:?} {algorithm:?}: {}", said.text());
        }
    }
    assert_eq!(terminal.failed_logins(), 0);
    Ok(())
}

#[tokio::test]
async fn challenges_have_the_shape_that_was_recorded() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    let challenge = |form| async move {
        terminal.change(|quirks| quirks.challenge = form);
        plain(format!("{}{INFO}", terminal.url()))
            .await
            .map(|said| said.header("www-authenticate").to_owned())
    };
    let camera = challenge(ChallengeForm::Ipc).await?;
    assert!(camera.starts_with("Digest qop=\"auth\", realm=\"IP Camera("), "{camera}");
    assert!(!camera.contains("opaque") && !camera.contains("algorithm"), "{camera}");
    let recorder = challenge(ChallengeForm::Nvr).await?;
    assert_eq!(told(&recorder, "realm").len(), 24);
    assert!(
        recorder.contains("domain=\"::\"")
            && recorder.contains("opaque=\"\"")
            && recorder.ends_with("stale=\"FALSE\"")
    );
    assert_eq!(told(&challenge(ChallengeForm::AxPro).await?, "opaque"), "799d5");
    assert!(!challenge(ChallengeForm::NoQop).await?.contains("qop"));
    Ok(())
}

#[tokio::test]
async fn two_algorithms_come_as_two_headers_or_as_one() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.algorithm = Algorithms::BothHeaders);
    let said = plain(format!("{}{INFO}", terminal.url())).await?;
    let lines: Vec<String> = said
        .headers
        .get_all("www-authenticate")
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
        .collect();
    let algorithms: Vec<String> = lines.iter().map(|line| told(line, "algorithm")).collect();
    assert_eq!(algorithms, ["MD5", "SHA-256"]);
    assert_ne!(lines.first().map(|line| told(line, "nonce")), lines.last().map(|line| told(line, "nonce")));
    terminal.change(|quirks| quirks.algorithm = Algorithms::BothInOneHeader);
    let said = plain(format!("{}{INFO}", terminal.url())).await?;
    assert_eq!(said.headers.get_all("www-authenticate").iter().count(), 1);
    assert_eq!(said.header("www-authenticate").matches("Digest ").count(), 2);
    Ok(())
}

#[tokio::test]
async fn what_was_signed_must_be_what_is_asked() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.lock_after = 0);
    let hand = Hand::challenged(terminal, INFO).await?;
    let other = hand.ask(terminal, "/ISAPI/System/deviceInfo?format=json", INFO, "00000001").await?;
    assert_eq!(other.status, 401, "the query was not signed");
    let right = hand.ask(terminal, INFO, INFO, "00000001").await?;
    assert_eq!(right.status, 200);
    assert_eq!(terminal.failed_logins(), 1);
    Ok(())
}

#[tokio::test]
async fn a_nonce_count_must_rise() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    let hand = Hand::challenged(terminal, INFO).await?;
    let mut seen = Vec::new();
    for nc in ["00000001", "00000002", "00000002", "00000001", "0000000a", "0000000A"] {
        seen.push(hand.ask(terminal, INFO, INFO, nc).await?.status);
    }
    assert_eq!(seen, [200, 200, 401, 401, 200, 401]);
    Ok(())
}

#[tokio::test]
async fn a_dead_nonce_gets_a_401_that_looks_like_a_wrong_password() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.nonce_once = true);
    let hand = Hand::challenged(terminal, INFO).await?;
    assert_eq!(hand.ask(terminal, INFO, INFO, "00000001").await?.status, 200);
    let dead = hand.ask(terminal, INFO, INFO, "00000002").await?;
    assert_eq!((dead.status, dead.header("www-authenticate")), (401, ""));
    assert_eq!(terminal.failed_logins(), 1);
    terminal.change(|quirks| {
        quirks.dead_nonce = DeadNonce::Challenge;
        quirks.dead_nonce_counts = false;
        quirks.stale = true;
    });
    let dead = hand.ask(terminal, INFO, INFO, "00000003").await?;
    assert_eq!(told(dead.header("www-authenticate"), "stale"), "TRUE");
    assert_eq!(terminal.failed_logins(), 1);
    Ok(())
}

#[tokio::test]
async fn a_nonce_expires_and_may_be_bound_to_its_url() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.nonce_bound_to_url = true);
    let hand = Hand::challenged(terminal, INFO).await?;
    assert_eq!(hand.ask(terminal, "/ISAPI/System/time", "/ISAPI/System/time", "00000001").await?.status, 401);
    assert_eq!(hand.ask(terminal, INFO, INFO, "00000001").await?.status, 200);
    terminal.change(|quirks| *quirks = Quirks { nonce_ttl_ms: 0, ..Quirks::default() });
    let hand = Hand::challenged(terminal, INFO).await?;
    assert_eq!(hand.ask(terminal, INFO, INFO, "00000001").await?.status, 401);
    let reasons: Vec<Option<String>> = dead_nonces(&fleet);
    assert_eq!(
        reasons,
        [Some("the url does not match the nonce url".to_owned()), Some("expired nonce".to_owned())]
    );
    Ok(())
}

fn dead_nonces(fleet: &Fleet) -> Vec<Option<String>> {
    fleet.ledger().of(Kind::NonceDead).into_iter().map(|entry| entry.note).collect()
}

#[tokio::test]
async fn basic_is_refused_and_noted_taken_or_the_only_way() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    let client = reqwest::Client::new();
    let basic = |password: &'static str| {
        let request = client.get(format!("{}{INFO}", terminal.url())).basic_auth(USER, Some(password));
        async move { anyhow::Ok(Said::from(request.send().await?).await?) }
    };
    let refused = basic(PASSWORD).await?;
    assert!(refused.status == 401 && refused.header("www-authenticate").starts_with("Digest"));
    assert_eq!((fleet.ledger().of(Kind::BasicSent).len(), terminal.failed_logins()), (1, 0));
    terminal.change(|quirks| quirks.basic = Basic::Allowed);
    assert_eq!(basic(PASSWORD).await?.status, 200);
    assert_eq!(ask(terminal, Method::GET, INFO, None).await?.status, 200);
    terminal.change(|quirks| quirks.basic = Basic::Only);
    let only = plain(format!("{}{INFO}", terminal.url())).await?;
    assert!(only.header("www-authenticate").starts_with("Basic realm="));
    assert_eq!((basic(PASSWORD).await?.status, basic("wrong").await?.status), (200, 401));
    Ok(())
}
