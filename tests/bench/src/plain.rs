//! What somebody would write who needs this one job and nothing else: the requests of `update-face-photo`, sent with
//! reqwest by as many tasks. No sandbox, no journal, no policy, no lock-out guard, no retry.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use reqwest::{Client, Method, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::digest::Account;
use crate::fleet::Plan;
use crate::say;

/// What one pass did; printed as one line of JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pass {
    /// Terminals served.
    pub(crate) devices: u64,
    /// Of these, where the face had to be created.
    pub(crate) created: u64,
    /// From the first request to the end of the last.
    pub(crate) seconds: f64,
}

/// One pass over all terminals, reported on standard output.
pub(crate) async fn pass(plan: &Path) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(plan)?)?;
    say(&serde_json::to_string(&serve_all(&plan).await?)?);
    Ok(())
}

async fn serve_all(plan: &Plan) -> Result<Pass> {
    // Loopback only, whatever the environment says about proxies.
    let client = Client::builder().no_proxy().build()?;
    let begun = Instant::now();
    let rows = Rows { client: &client, plan };
    let person = rows.person().await?;
    let devices = rows.devices().await?;
    let photo = client.get(&person.url).send().await?.error_for_status()?.bytes().await?;
    let job = Arc::new(Job {
        client: client.clone(),
        photo: hex::encode(Sha256::digest(&photo)),
        account: Account { user: plan.user.clone(), password: plan.password.clone() },
        face: person,
    });
    let places = Arc::new(Semaphore::new(plan.parallel));
    let mut tasks = JoinSet::new();
    for device in devices {
        let (job, place) = (Arc::clone(&job), Arc::clone(&places).acquire_owned().await?);
        tasks.spawn(async move {
            let way = job.serve(&device).await.with_context(|| format!("terminal {}", device["name"]));
            drop(place);
            way
        });
    }
    let mut pass = Pass::default();
    while let Some(served) = tasks.join_next().await {
        pass.devices += 1;
        pass.created += u64::from(served?? == Way::Created);
    }
    pass.seconds = begun.elapsed().as_secs_f64();
    Ok(pass)
}

/// Reads the database.
struct Rows<'a> {
    client: &'a Client,
    plan: &'a Plan,
}

/// What a terminal is told.
struct Face {
    fpid: String,
    url: String,
}

impl Rows<'_> {
    async fn person(&self) -> Result<Face> {
        let id = format!("eq.{}", self.plan.employee);
        let query = [("select", "id,full_name,biometrics(employee_no,photo_url)"), ("id", id.as_str())];
        let (person, _) =
            self.get("employees", &query, ("Accept", "application/vnd.pgrst.object+json")).await?;
        let of_biometrics = |name: &str| {
            let value = person["biometrics"][name].as_str();
            value.map(str::to_owned).with_context(|| format!("the person has no {name}: {person}"))
        };
        let photo = of_biometrics("photo_url")?;
        let url = if photo.starts_with('/') { format!("{}{photo}", self.plan.supabase) } else { photo };
        Ok(Face { fpid: of_biometrics("employee_no")?, url })
    }

    async fn devices(&self) -> Result<Vec<Value>> {
        let mut devices = Vec::new();
        loop {
            let offset = devices.len().to_string();
            let query = [
                ("select", "id,name,ip,port"),
                ("active", "is.true"),
                ("order", "name.asc,id.asc"),
                ("limit", "1000"),
                ("offset", &offset),
            ];
            let (page, range) = self.get("devices", &query, ("Prefer", "count=exact")).await?;
            let Value::Array(rows) = page else { bail!("not a list of rows: {page}") };
            let total = range.as_deref().and_then(|range| range.rsplit_once('/')?.1.parse::<usize>().ok());
            let total = total.context("the answer does not say how many rows there are")?;
            ensure!(!rows.is_empty() || total == 0, "an empty page");
            devices.extend(rows);
            if devices.len() >= total {
                return Ok(devices);
            }
        }
    }

    async fn get(
        &self,
        table: &str,
        query: &[(&str, &str)],
        header: (&str, &str),
    ) -> Result<(Value, Option<String>)> {
        let url = Url::parse_with_params(&format!("{}/rest/v1/{table}", self.plan.supabase), query)?;
        let key = &self.plan.key;
        let request = self.client.get(url).header("apikey", key).bearer_auth(key).header(header.0, header.1);
        let response = request.send().await?.error_for_status()?;
        let range =
            response.headers().get("content-range").and_then(|range| range.to_str().ok()).map(str::to_owned);
        Ok((serde_json::from_slice(&response.bytes().await?)?, range))
    }
}

/// How a terminal got the face.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Replaced,
    Created,
}

struct Job {
    client: Client,
    account: Account,
    face: Face,
    /// sha256 of the photo.
    photo: String,
}

impl Job {
    /// Looks at the face, replaces it (creates it where there is none), and looks whether it is another one.
    async fn serve(&self, device: &Value) -> Result<Way> {
        let origin = format!("http://{}:{}", device["ip"].as_str().context("no ip")?, device["port"]);
        let Face { fpid, url } = &self.face;
        let before = self.look(&origin).await?;
        let record = json!({
            "faceURL": url, "faceLibType": "blackFD", "FDID": "1", "FPID": fpid, "faceID": fpid,
        });
        let mut way = Way::Replaced;
        let (mut status, mut answer) = self.send(&origin, Method::PUT, "FDModify", &record).await?;
        if status != StatusCode::OK {
            way = Way::Created;
            (status, answer) = self.send(&origin, Method::POST, "FaceDataRecord", &record).await?;
        }
        ensure!(
            status == StatusCode::OK && answer["statusCode"] == 1,
            "the face was refused: {status} {answer}"
        );
        let after = self.look(&origin).await?.context("the face is not there")?;
        let sent = self.photo.as_str();
        ensure!(
            after == sent || before.as_deref() != Some(&after),
            "the face is the one that was there before"
        );
        Ok(way)
    }

    /// sha256 of the picture that the terminal has of the person.
    async fn look(&self, origin: &str) -> Result<Option<String>> {
        let fpid = self.face.fpid.as_str();
        let search = json!({
            "searchResultPosition": 0, "maxResults": 30, "faceLibType": "blackFD", "FDID": "1", "FPID": fpid,
        });
        let (status, found) = self.send(origin, Method::POST, "FDSearch", &search).await?;
        ensure!(status == StatusCode::OK, "the search was refused: {status} {found}");
        let faces = found["MatchList"].as_array();
        let Some(face) = faces.into_iter().flatten().find(|face| face["FPID"] == fpid) else {
            return Ok(None);
        };
        let address = face["faceURL"].as_str().context("the terminal does not show the face")?;
        let path = address.splitn(4, '/').nth(3).with_context(|| format!("no path in {address}"))?;
        let (status, picture) = self.request(origin, Method::GET, &format!("/{path}"), None).await?;
        ensure!(status == StatusCode::OK, "the picture was refused: {status}");
        Ok(Some(hex::encode(Sha256::digest(&picture))))
    }

    async fn send(
        &self,
        origin: &str,
        method: Method,
        name: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value)> {
        let uri = format!("/ISAPI/Intelligent/FDLib/{name}?format=json");
        let (status, answer) = self.request(origin, method, &uri, Some(body)).await?;
        Ok((status, serde_json::from_slice(&answer)?))
    }

    /// Asks for a challenge without the body, then sends the request with the answer to it.
    async fn request(
        &self,
        origin: &str,
        method: Method,
        uri: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes)> {
        let url = Url::parse(&format!("{origin}{uri}"))?;
        let probed = self.client.request(method.clone(), url.clone()).send().await?;
        ensure!(probed.status() == StatusCode::UNAUTHORIZED, "no challenge, but {}", probed.status());
        let challenge = probed.headers().get("www-authenticate").context("a 401 without a challenge")?;
        let challenge = challenge.to_str()?.to_owned();
        // Read to its end, the answer frees the socket for the next request.
        probed.bytes().await?;
        let authorization = self.account.answer(&challenge, method.as_str(), uri, "5ccc069c403ebaf9")?;
        let mut request = self.client.request(method, url).header("Authorization", authorization);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status();
        Ok((status, response.bytes().await?))
    }
}

#[cfg(test)]
mod tests {
    use bascule_sim::{Fleet, FleetOptions, Kind, PASSWORD, SERVICE_KEY, Scenario, USER};

    use super::*;

    async fn served(scenario: Scenario) -> Result<(Pass, Fleet)> {
        let fleet = Fleet::start(FleetOptions { terminals: 3, scenario, ..FleetOptions::default() }).await?;
        let plan = Plan {
            engine: Vec::new(),
            show: Vec::new(),
            control: fleet.control_url(),
            simulator: std::process::id(),
            ledger: Default::default(),
            terminals: 3,
            parallel: 2,
            supabase: fleet.supabase_url(),
            key: SERVICE_KEY.to_owned(),
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            employee: fleet.people().complete().context("nobody is complete")?.id.clone(),
        };
        Ok((serve_all(&plan).await?, fleet))
    }

    fn requests(fleet: &Fleet) -> Vec<u64> {
        fleet.terminals().iter().map(|terminal| terminal.requests()).collect()
    }

    #[tokio::test]
    async fn a_face_is_looked_at_replaced_and_looked_at_again_with_a_probe_for_each_request() -> Result<()> {
        let (pass, fleet) = served(Scenario::Calm).await?;
        assert_eq!((pass.devices, pass.created), (3, 0));
        assert_eq!(requests(&fleet), [10, 10, 10]);
        assert_eq!(fleet.ledger().of(Kind::FaceWrite).len(), 3);
        fleet.stop().await
    }

    #[tokio::test]
    async fn a_terminal_without_a_face_has_no_picture_before_and_takes_another_write() -> Result<()> {
        let (pass, fleet) = served(Scenario::Fresh).await?;
        assert_eq!((pass.devices, pass.created), (3, 3));
        assert_eq!(requests(&fleet), [10, 10, 10]);
        assert_eq!(fleet.ledger().of(Kind::LoginFailed).len(), 0);
        fleet.stop().await
    }
}
