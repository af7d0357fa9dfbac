//! Event sources under supervision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bascule_run::record::RunRecord;
use bascule_trigger::event::{Backoff, EventParts, Events, Link, SourceSink, SourceState, Sources};
use bascule_trigger::intake::DeliveryFilter;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan::Call;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Site, Stage, until};

/// What a device is told to do.
enum Order {
    Emit(Value, Option<String>, oneshot::Sender<Result<(), Failure>>),
    State(bool),
    Save(Value),
    Load(oneshot::Sender<Option<Value>>),
    End(Result<(), Failure>),
}

/// One device: what it is told, and how often its stream was opened.
struct Device {
    orders: mpsc::UnboundedSender<Order>,
    inbox: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Order>>>,
    opened: u32,
    open: u32,
    /// Which of its inventory's entries it is spoken to by.
    version: u32,
}

/// The devices outside, by the value of `with`.
#[derive(Default)]
struct Devices {
    all: Mutex<HashMap<String, Device>>,
    /// What `catch-up` was asked for, and what it answers, first answer first.
    asked: Mutex<Vec<Value>>,
    answers: Mutex<Vec<Result<Value, Failure>>>,
}

impl Devices {
    fn with<T>(&self, name: &str, look: impl FnOnce(&mut Device) -> T) -> T {
        let mut all = self.all.lock().unwrap();
        let device = all.entry(name.to_owned()).or_insert_with(|| {
            let (orders, inbox) = mpsc::unbounded_channel();
            Device { orders, inbox: Arc::new(tokio::sync::Mutex::new(inbox)), opened: 0, open: 0, version: 1 }
        });
        look(device)
    }

    fn tell(&self, name: &str, order: Order) {
        self.with(name, |device| device.orders.send(order).unwrap());
    }

    /// Sends at once; the future waits for what the sink says.
    fn emit(
        &self,
        name: &str,
        event: Value,
        key: Option<&str>,
    ) -> impl Future<Output = Result<(), Failure>> + use<> {
        let (answer, stored) = oneshot::channel();
        self.tell(name, Order::Emit(event, key.map(str::to_owned), answer));
        async move { stored.await.unwrap() }
    }

    fn opened(&self, name: &str) -> u32 {
        self.with(name, |device| device.opened)
    }
}

/// Counts a stream as open until it is dropped.
struct Open<'d>(&'d Devices, String);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.with(&self.1, |device| device.open -= 1);
    }
}

#[async_trait]
impl Sources for Devices {
    async fn run_source(
        &self,
        call: &Call,
        with: Value,
        sink: Arc<dyn SourceSink>,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        assert_eq!((call.plugin.as_str(), call.function.as_str()), ("demo", "events.stream"));
        let name = with["value"].as_str().unwrap().to_owned();
        let inbox = self.with(&name, |device| {
            device.opened += 1;
            device.open += 1;
            assert_eq!(device.open, 1, "two streams of {name}");
            Arc::clone(&device.inbox)
        });
        let _open = Open(self, name);
        let mut inbox = inbox.lock().await;
        loop {
            let order = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Failure::new(Kind::Cancelled, "cancelled")),
                order = inbox.recv() => order.unwrap(),
            };
            match order {
                Order::Emit(event, key, answer) => answer.send(sink.emit(event, key).await).unwrap(),
                Order::State(connected) => sink.state(connected, "as told"),
                Order::Save(cursor) => sink.save_cursor(cursor).await.unwrap(),
                Order::Load(answer) => answer.send(sink.cursor().await.unwrap()).unwrap(),
                Order::End(result) => return result,
            }
        }
    }

    fn version(&self, _call: &Call, with: &Value) -> String {
        self.with(with["value"].as_str().unwrap(), |device| device.version.to_string())
    }

    async fn call(&self, call: &Call, with: Value, _cancel: CancellationToken) -> Result<Value, Failure> {
        assert_eq!(call.function, "events.missed");
        self.asked.lock().unwrap().push(with["value"].clone());
        self.answers.lock().unwrap().remove(0)
    }
}

/// A process with its supervisor.
struct Listening {
    stage: Stage,
    events: Events,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listening {
    async fn begin(site: &Site, devices: &Arc<Devices>) -> Self {
        let stage = site.open().await;
        let events = Events::new(EventParts {
            intake: stage.intake.clone(),
            book: site.shelf.clone(),
            clock: site.clock.clone(),
            sources: devices.clone(),
            backoff: Backoff { from: Duration::from_millis(2), to: Duration::from_millis(5) },
        });
        let stop = CancellationToken::new();
        let task = {
            let (events, stop) = (events.clone(), stop.clone());
            tokio::spawn(async move { events.run(stop).await })
        };
        Self { stage, events, stop, task }
    }

    fn state(&self, item: &str) -> SourceState {
        let states = self.events.states();
        states.into_iter().find(|state| state.id.item == item).unwrap()
    }

    async fn triggers(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for run in self.stage.runs().await {
            all.push(RunRecord::read(&*self.stage.journal, &run.id.to_string()).await.unwrap().trigger);
        }
        all
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.stage.crash(None).await;
    }
}

const PLAIN: &str = "
triggers:
  - event:
      for-each: [north, south]
      key: ${{ item }}
      uses: demo/events.stream
      with: { value: \"${{ item }}\" }
      if: trigger.event.kind != 'heartbeat'
      silence: 1h
steps:
  - uses: demo/things.echo
    with: { value: \"${{ trigger.event }}\" }
";

fn event(number: u32) -> Value {
    json!({ "kind": "access", "number": number })
}

#[tokio::test]
async fn an_event_is_a_run_on_disk_before_the_source_hears_of_it_and_a_key_counts_once_per_device() {
    let (site, devices) = (Site::new(&[("door", PLAIN)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    for device in ["north", "south", "north"] {
        devices.emit(device, event(7), Some("7")).await.unwrap();
    }
    devices.emit("north", json!({ "kind": "heartbeat" }), None).await.unwrap();
    let mut triggers = listening.triggers().await;
    triggers.sort_by_key(|trigger| trigger["key"].to_string());
    assert_eq!(triggers.len(), 2);
    assert_eq!((triggers[0]["kind"].as_str(), triggers[0]["key"].as_str()), (Some("event"), Some("north")));
    assert_eq!((triggers[1]["item"].as_str(), &triggers[1]["event"]), (Some("south"), &event(7)));
    let state = listening.state("north");
    assert_eq!((state.link, state.restarts), (Link::Connected, 0));
    listening.end().await;
}

#[tokio::test]
async fn what_cannot_be_stored_is_said_to_the_source() {
    let (site, devices) = (Site::new(&[("door", PLAIN)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    devices.emit("north", event(1), None).await.unwrap();
    listening.stage.database.close().await;
    let failure = devices.emit("north", event(2), None).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Busy);
    listening.stop.cancel();
    listening.task.await.unwrap();
}

#[tokio::test]
async fn a_source_that_ends_is_started_again_and_shown_as_reconnecting_until_it_stands() {
    let (site, devices) = (Site::new(&[("door", PLAIN)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    devices.emit("north", event(1), None).await.unwrap();
    for round in 1..=20 {
        devices.tell("north", Order::End(Err(Failure::new(Kind::Offline, "no route"))));
        until("it is started again", async || devices.opened("north") == round + 1).await;
        let state = listening.state("north");
        assert_eq!((state.link, state.note.as_str()), (Link::Reconnecting, "no route"));
        devices.emit("north", event(round + 1), None).await.unwrap();
        assert_eq!(listening.state("north").link, Link::Connected);
    }
    assert_eq!((listening.state("north").restarts, listening.triggers().await.len()), (20, 21));
    // The other one went on undisturbed.
    assert_eq!(devices.opened("south"), 1);
    listening.end().await;
}

#[tokio::test]
async fn a_source_that_falls_silent_is_unknown_and_started_again() {
    let text = PLAIN.replace("silence: 1h", "silence: 80ms");
    let (site, devices) = (Site::new(&[("door", &text)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    devices.emit("north", event(1), None).await.unwrap();
    until("it is unknown", async || listening.state("north").link == Link::Unknown).await;
    assert!(listening.state("north").note.contains("no sign of life for 80ms"));
    until("it is started again", async || devices.opened("north") > 1).await;
    devices.tell("north", Order::State(true));
    until("it stands", async || listening.state("north").link == Link::Connected).await;
    listening.end().await;
}

#[tokio::test]
async fn edits_stop_start_and_leave_alone() {
    let (site, devices) = (Site::new(&[("door", PLAIN)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    until("both are open", async || devices.opened("north") + devices.opened("south") == 2).await;
    site.shelf.edit("gate", Some(&PLAIN.replace("north, south", "gate")));
    until("the new one is open", async || devices.opened("gate") == 1).await;
    site.shelf.edit("door", None);
    until("they are closed", async || devices.with("north", |device| device.open) == 0).await;
    until("they are not shown", async || listening.events.states().len() == 1).await;
    assert_eq!((devices.opened("north"), devices.opened("gate")), (1, 1));
    // Another text of the same source: the old stream is closed before the new one is opened.
    for round in 2..10 {
        site.shelf.edit("gate", Some(&format!("{}# {round}\n", PLAIN.replace("north, south", "gate"))));
        until("it is opened again", async || devices.opened("gate") == round).await;
    }
    listening.end().await;
}

#[tokio::test]
async fn a_source_whose_connection_was_edited_is_started_again_and_no_other() {
    let (site, devices) = (Site::new(&[("door", PLAIN)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    until("both are open", async || devices.opened("north") + devices.opened("south") == 2).await;
    devices.with("north", |device| device.version = 2);
    assert_eq!(devices.opened("north"), 1, "nobody has said that anything changed");
    site.shelf.edit("other", Some("steps:\n  - uses: demo/things.echo\n"));
    until("it is opened again", async || devices.opened("north") == 2).await;
    // The other one hears of the same change, and of a further one, and goes on.
    site.shelf.edit("gate", Some(&PLAIN.replace("north, south", "gate")));
    until("the new one is open", async || devices.opened("gate") == 1).await;
    assert_eq!((devices.opened("north"), devices.opened("south")), (2, 1));
    devices.emit("south", event(1), None).await.unwrap();
    listening.end().await;
}

#[tokio::test]
async fn a_cursor_is_there_after_a_restart() {
    let (site, devices) = (Site::new(&[("door", PLAIN)]), Arc::new(Devices::default()));
    let load = async |devices: &Devices| {
        let (answer, cursor) = oneshot::channel();
        devices.tell("north", Order::Load(answer));
        cursor.await.unwrap()
    };
    let listening = Listening::begin(&site, &devices).await;
    assert_eq!(load(&devices).await, None);
    devices.tell("north", Order::Save(json!({ "serial": 4711 })));
    assert_eq!(load(&devices).await, Some(json!({ "serial": 4711 })));
    listening.end().await;
    let listening = Listening::begin(&site, &devices).await;
    assert_eq!(load(&devices).await, Some(json!({ "serial": 4711 })));
    listening.end().await;
}

const CAREFUL: &str = "
triggers:
  - event:
      uses: demo/events.stream
      with: { value: north }
      dedupe: ${{ trigger.event.number }}
      silence: 1h
      catch-up: { uses: demo/events.missed, with: { value: \"${{ trigger.since }}\" } }
steps:
  - uses: demo/things.echo
    with: { value: \"${{ trigger.event }}\" }
";

#[tokio::test]
async fn what_was_missed_is_asked_for_when_the_stream_stands_again_and_nothing_comes_twice() {
    let (site, devices) = (Site::new(&[("door", CAREFUL)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    devices.emit("north", event(1), None).await.unwrap();
    assert!(devices.asked.lock().unwrap().is_empty(), "at first there is nothing to ask for");
    listening.end().await;

    // Away for an hour. The first time the device does not know; the list overlaps what was heard before and since.
    site.clock.advance(Duration::from_secs(3600));
    *devices.answers.lock().unwrap() = vec![
        Err(Failure::new(Kind::Busy, "still starting")),
        Ok(json!({ "events": [event(1), event(2), event(3), event(4)] })),
    ];
    let listening = Listening::begin(&site, &devices).await;
    until("it is missing", async || {
        listening.events.states().first().is_some_and(|state| state.missing_since.is_some())
    })
    .await;
    devices.emit("north", event(4), None).await.unwrap();
    until("nothing is missing", async || listening.state("").missing_since.is_none()).await;
    assert_eq!(*devices.asked.lock().unwrap(), ["2026-11-21T02:58:00Z", "2026-11-21T02:58:00Z"]);
    let mut numbers: Vec<u64> = listening
        .triggers()
        .await
        .iter()
        .map(|trigger| trigger["event"]["number"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4]);
    listening.end().await;

    // What was asked for is not asked for again.
    devices.answers.lock().unwrap().push(Ok(json!([])));
    site.clock.advance(Duration::from_secs(60));
    let listening = Listening::begin(&site, &devices).await;
    devices.emit("north", event(5), None).await.unwrap();
    until("it was asked", async || devices.asked.lock().unwrap().len() == 3).await;
    assert_eq!(devices.asked.lock().unwrap()[2], "2026-11-21T03:58:00Z");
    listening.end().await;
}

#[tokio::test]
async fn what_a_source_says_as_it_gives_up_is_no_sign_of_its_peer() {
    let (site, devices) = (Site::new(&[("door", CAREFUL)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    devices.emit("north", event(1), None).await.unwrap();
    // It stands and nothing comes any more; an hour later the source notices.
    site.clock.advance(Duration::from_secs(3600));
    devices.answers.lock().unwrap().push(Ok(json!([event(1), event(2)])));
    devices.tell("north", Order::State(false));
    devices.tell("north", Order::End(Err(Failure::new(Kind::Timeout, "silent"))));
    devices.tell("north", Order::State(true));
    until("it was asked", async || !devices.asked.lock().unwrap().is_empty()).await;
    assert_eq!(devices.asked.lock().unwrap()[0], "2026-11-21T02:58:00Z");
    until("both are there", async || listening.triggers().await.len() == 2).await;
    listening.end().await;
}

const COLLECTING: &str = "
triggers:
  - event:
      uses: demo/events.stream
      with: { value: north }
      dedupe: ${{ trigger.event.number }}
      silence: 1h
      collect: { up-to: 3, within: 2s }
      inputs: { events: \"${{ trigger.events }}\" }
inputs: { events: { type: json, required: true } }
steps:
  - uses: demo/things.echo
    with: { value: \"${{ inputs.events }}\" }
";

#[tokio::test]
async fn events_that_are_collected_make_a_run_when_there_are_enough_or_when_it_is_time() {
    let (site, devices) = (Site::new(&[("door", COLLECTING)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    let dispatcher = listening.stage.dispatcher().await;
    for number in [1, 2, 2, 3] {
        devices.emit("north", event(number), None).await.unwrap();
    }
    until("enough", async || site.world.began().len() == 1).await;
    assert_eq!(site.world.began()[0], json!([event(1), event(2), event(3)]));
    devices.emit("north", event(4), None).await.unwrap();
    devices.emit("north", event(3), None).await.unwrap();
    assert_eq!(listening.stage.intake.buckets().await.unwrap()[0].items, 1);
    site.clock.advance(Duration::from_secs(2));
    until("in time", async || site.world.began().len() == 2).await;
    assert_eq!(site.world.began()[1], json!([event(4)]));
    let deliveries = listening.stage.intake.deliveries(&DeliveryFilter::default()).await.unwrap();
    assert!(deliveries.iter().all(|delivery| delivery.run.is_some()), "{deliveries:?}");
    assert_eq!(deliveries.iter().map(|delivery| delivery.duplicates).sum::<u64>(), 2);
    dispatcher.drain(Duration::ZERO).await;
    listening.end().await;
}

#[tokio::test]
async fn events_that_wait_survive_the_process_and_the_workflow() {
    let (site, devices) = (Site::new(&[("door", COLLECTING)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    devices.emit("north", event(1), None).await.unwrap();
    devices.emit("north", event(2), None).await.unwrap();
    listening.end().await;

    site.shelf.edit("door", None);
    site.shelf.remove_plugin("demo");
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    site.clock.advance(Duration::from_secs(10));
    // Nothing can be made of them now, so they wait on.
    until("it was tried", async || {
        stage.intake.buckets().await.unwrap()[0].due_at > "2026-11-21T03:00:10Z".parse().unwrap()
    })
    .await;
    assert!(stage.runs().await.is_empty());
    site.shelf.bring_back_plugins();
    site.clock.advance(Duration::from_secs(60));
    until("their run", async || site.world.began().len() == 1).await;
    assert_eq!(site.world.began()[0], json!([event(1), event(2)]));
    stage.crash(Some(dispatcher)).await;
}

/// Two hundred devices whose streams end at random while they send; every event is there once in the end.
#[tokio::test]
async fn of_many_flapping_devices_every_event_comes_once() {
    let names: Vec<String> = (0..200).map(|number| format!("d{number}")).collect();
    let text = PLAIN.replace("north, south", &names.join(", "));
    let (site, devices) = (Site::new(&[("door", &text)]), Arc::new(Devices::default()));
    let listening = Listening::begin(&site, &devices).await;
    for number in 0..5_u32 {
        let mut stored = Vec::new();
        for (index, name) in names.iter().enumerate() {
            // The same event again after the stream broke: the device does not know that it was stored.
            let again = u32::try_from(index).unwrap() % 3 == number % 3;
            for _ in 0..=u32::from(again) {
                stored.push(devices.emit(name, event(number), Some(&number.to_string())));
                if again {
                    devices.tell(name, Order::End(Err(Failure::new(Kind::Offline, "cut"))));
                }
            }
        }
        for result in futures_util::future::join_all(stored).await {
            result.unwrap();
        }
    }
    assert_eq!(listening.triggers().await.len(), 1000);
    let duplicates: u64 = {
        let deliveries = listening.stage.intake.deliveries(&DeliveryFilter::default()).await.unwrap();
        deliveries.iter().map(|delivery| delivery.duplicates).sum()
    };
    assert!(duplicates > 200, "{duplicates}");
    listening.end().await;
}
