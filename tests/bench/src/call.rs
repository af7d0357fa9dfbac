//! A warm call of a trivial function: JSON in, JSON out through `bascule-plugin`, against typed calls of the same
//! component with nothing but wasmtime.
//!
//! The sides differ in what they do, which is the point: Bascule's call looks names up, converts, sets limits and a
//! deadline, links an empty WASI, and runs the guest on threads of its own; wasmtime's calls do none of that.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_capability::Capabilities;
use bascule_plugin::{Call, Context, Host, HostOptions, Plugin};
use serde_json::json;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

use crate::machine::Watch;
use crate::samples::{Row, Samples, table};
use crate::{Pace, say};

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit", "../guests/wit/trivial"],
        world: "bascule:trivial/plugin@0.1.0",
    });
}

use bindings::{Plugin as Typed, PluginPre};

/// Calls per round and side.
struct Counts {
    through_plugin: u32,
    fresh: u32,
    warm: u32,
}

pub(crate) async fn measure(component: &Path, pace: Pace) -> Result<()> {
    let rounds = pace.of(5, 25);
    let counts = Counts {
        through_plugin: pace.of(500, 4_000),
        fresh: pace.of(2_000, 20_000),
        warm: pace.of(50_000, 500_000),
    };
    let bytes = std::fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
    let host = Arc::new(Host::new(HostOptions::default())?);
    let plugin = host.load("trivial", &bytes, None)?;
    let raw = Raw::new(&bytes)?;

    let watch = Watch::start(None);
    // Once unmeasured: page tables, allocators, branch predictors.
    through_plugin(&host, &plugin, counts.through_plugin).await?;
    raw.fresh(counts.fresh)?;
    raw.warm(counts.warm)?;
    let (mut ours, mut fresh, mut warm) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..rounds {
        ours.push(micros(
            through_plugin(&host, &plugin, counts.through_plugin).await?,
            counts.through_plugin,
        ));
        fresh.push(micros(raw.fresh(counts.fresh)?, counts.fresh));
        warm.push(micros(raw.warm(counts.warm)?, counts.warm));
    }
    say(&format!(
        "call: add(u32, u32), one call after another, {rounds} rounds of {} / {} / {} calls",
        counts.through_plugin, counts.fresh, counts.warm
    ));
    say(&table(&[
        Row { what: "through bascule-plugin, JSON to JSON", unit: "us", samples: &ours },
        Row { what: "wasmtime alone, new instance each call", unit: "us", samples: &fresh },
        Row { what: "wasmtime alone, one warm instance", unit: "us", samples: &warm },
        Row { what: "ratio to a new instance each call", unit: "x", samples: &ours.over(&fresh) },
        Row { what: "ratio to a warm instance", unit: "x", samples: &ours.over(&warm) },
    ]));
    say(&watch.caveat(&fresh));
    Ok(())
}

fn micros(time: Duration, calls: u32) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(calls)
}

/// On a worker of the runtime, where the executor's calls come from.
async fn through_plugin(host: &Arc<Host>, plugin: &Plugin, calls: u32) -> Result<Duration> {
    let (host, plugin) = (Arc::clone(host), plugin.clone());
    tokio::spawn(async move {
        let capabilities = Capabilities::default();
        let begun = Instant::now();
        for number in 0..calls {
            let with = json!({ "a": number, "b": 1 });
            let call = Call::new("math.add", &with, Context::default(), &capabilities);
            let sum =
                host.call(&plugin, call).await.map_err(|failure| anyhow::anyhow!("{}", failure.message))?;
            ensure!(sum == json!(number + 1), "{number} + 1 is {sum}");
        }
        Ok(begun.elapsed())
    })
    .await?
}

/// The same component on an engine with wasmtime's own defaults.
struct Raw {
    engine: Engine,
    template: PluginPre<()>,
}

impl Raw {
    fn new(bytes: &[u8]) -> Result<Self> {
        let engine = Engine::default();
        let component = Component::new(&engine, bytes)?;
        // It imports types only, and types need no implementation.
        let template = PluginPre::new(Linker::new(&engine).instantiate_pre(&component)?)?;
        Ok(Self { engine, template })
    }

    fn fresh(&self, calls: u32) -> Result<Duration> {
        let begun = Instant::now();
        for number in 0..calls {
            let mut store = Store::new(&self.engine, ());
            let instance = self.template.instantiate(&mut store)?;
            add(&instance, &mut store, number)?;
        }
        Ok(begun.elapsed())
    }

    fn warm(&self, calls: u32) -> Result<Duration> {
        let mut store = Store::new(&self.engine, ());
        let instance = self.template.instantiate(&mut store)?;
        let begun = Instant::now();
        for number in 0..calls {
            add(&instance, &mut store, number)?;
        }
        Ok(begun.elapsed())
    }
}

fn add(instance: &Typed, store: &mut Store<()>, number: u32) -> Result<()> {
    let answer = instance.bascule_trivial_math().call_add(store, number, 1)?;
    let sum = answer.map_err(|error| anyhow::anyhow!("{}", error.message))?;
    ensure!(sum == number + 1, "{number} + 1 is {sum}");
    Ok(())
}
