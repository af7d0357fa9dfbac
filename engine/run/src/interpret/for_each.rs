//! `for-each`: one list, evaluated once; items side by side.

use std::collections::HashMap;
use std::sync::Arc;

use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan::{ForEach, Step};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::context::Stop;
use crate::interpret::names::{Names, as_text, evaluation_failed};
use crate::interpret::slot::{Grip, Slot};
use crate::interpret::{Around, End, Interpreter, ItemEnd};
use crate::journal::{Entry, Item};
use crate::observe::Event;
use crate::place::Place;
use crate::status::Status;

impl<'w> Interpreter<'w> {
    pub(crate) async fn for_each(
        &self,
        step: &'w Step,
        each: &'w ForEach,
        place: &Place,
        around: &Around<'w, '_>,
        grip: &mut Grip,
    ) -> Result<End, Stop> {
        let items = match &self.context.recall(place).items {
            Some(items) => Arc::clone(items),
            None => match list(each, place, &around.names) {
                Ok(items) => {
                    self.context.note(Entry::ItemsListed { place: place.clone(), items: items.clone() });
                    Arc::new(items)
                }
                Err(failure) => return Ok(End::bad(Status::Failed, failure)),
            },
        };
        if self.context.recall(place).ended.is_none() {
            self.context.tell(Event::StepStarted { place: place.clone(), items: Some(items.len()) });
        }
        // The items take slots of their own; whoever waits for them works no more.
        grip.loosen();
        let ends = self.items(step, each, place, &items, around, grip).await?;
        grip.tighten().await;
        Ok(whole(&items, ends))
    }

    /// Runs the items; `None` for those that were not begun.
    async fn items(
        &self,
        step: &'w Step,
        each: &'w ForEach,
        place: &Place,
        items: &[Item],
        around: &Around<'w, '_>,
        grip: &Grip,
    ) -> Result<Vec<Option<End>>, Stop> {
        let mut ends: Vec<Option<End>> = vec![None; items.len()];
        let mut waiting = Vec::new();
        let mut stopped = false;
        let stops = |end: &End| !end.status.is_fine() && !step.keep_going;
        // First what has ended, then what was begun, then the rest; each in the order of the list.
        for (index, item) in items.iter().enumerate() {
            let at = place.item(&item.key);
            if self.context.recall(&at).ended.is_some() {
                let around = item_around(around, each, index, item);
                let mut end = self.single(step, &at, &around, &mut Grip::root()).await?;
                end.inner = Vec::new();
                stopped |= stops(&end);
                ends[index] = Some(end);
            } else {
                waiting.push((index, self.context.touched(&at)));
            }
        }
        waiting.sort_by_key(|(_, begun)| !begun);
        let mut waiting = waiting.into_iter().peekable();

        let semaphore = Arc::new(Semaphore::new(usize::try_from(each.parallel.max(1)).unwrap_or(usize::MAX)));
        let mut running = FuturesUnordered::new();
        // Slots whose item has ended and that may not be taken yet.
        let mut resting = FuturesUnordered::new();
        let mut put_aside = None;
        loop {
            let may_begin =
                |begun: bool| put_aside.is_none() && (begun || (!stopped && !around.cancel.is_cancelled()));
            let next = waiting.peek().copied().filter(|(_, begun)| may_begin(*begun));
            if next.is_none() && running.is_empty() {
                break;
            }
            let slot = Slot::of_item(Arc::clone(&semaphore), grip.slot());
            tokio::select! {
                biased;
                Some((index, ended, held)) = running.next(), if !running.is_empty() => {
                    let ended: Result<End, Stop> = ended;
                    match ended {
                        Ok(mut end) => {
                            // Nobody sees the steps of an item from outside.
                            end.inner = Vec::new();
                            if !each.pause.is_zero() && end.status != Status::Skipped {
                                let mut held: Grip = held;
                                resting.push(async move {
                                    held.tighten().await;
                                    self.context.rest(each.pause).await;
                                    drop(held);
                                });
                            }
                            stopped |= stops(&end);
                            ends[index] = Some(end);
                            self.context.settle().await?;
                        }
                        // The others come to their next stop before the run is put aside.
                        Err(stop @ (Stop::Suspended | Stop::Held(_))) => put_aside = Some(stop),
                        Err(stop) => return Err(stop),
                    }
                }
                mut grip = Grip::on(slot), if next.is_some() => {
                    let Some((index, _)) = waiting.next() else { continue };
                    let item = &items[index];
                    let at = place.item(&item.key);
                    let around = item_around(around, each, index, item);
                    self.context.tell(Event::ItemStarted { place: at.clone() });
                    running.push(async move {
                        let end = self.single(step, &at, &around, &mut grip).await;
                        (index, end, grip)
                    });
                }
                Some(()) = resting.next(), if !resting.is_empty() => {}
                // Checked again: begins nothing more.
                () = around.cancel.cancelled(), if next.is_some() && !around.cancel.is_cancelled() => {}
            }
        }
        drop(running);
        if let Some(stop) = put_aside {
            return Err(stop);
        }
        for (index, _) in waiting {
            self.close(&place.item(&items[index].key), &End::not_begun(), None).await?;
        }
        Ok(ends)
    }
}

/// The list with its keys.
fn list(each: &ForEach, place: &Place, names: &Names) -> Result<Vec<Item>, Failure> {
    let scope = names.scope();
    let source = each.items.source();
    let value = each
        .items
        .evaluate(&scope)
        .map_err(|error| evaluation_failed(place, "for-each", Some(source), &error))?;
    let Value::Array(values) = value else {
        let message = format!("`{place}`, for-each `{source}`: this is no list");
        return Err(Failure::new(Kind::InvalidInput, message).with_code("bascule:expression"));
    };
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(values.len());
    let mut items = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let key = match &each.key {
            None => index.to_string(),
            Some(key) => {
                let mut scope = scope.clone();
                scope.set(each.variable.clone(), value.clone());
                scope.set(format!("{}_index", each.variable), index.into());
                let key = key.evaluate(&scope).map_err(|error| {
                    evaluation_failed(place, &format!("key of item {index}"), None, &error)
                })?;
                as_text(&key)
            }
        };
        if let Some(earlier) = seen.insert(key.clone(), index) {
            let message = format!("`{place}`, key: items {earlier} and {index} have the same key `{key}`");
            return Err(Failure::new(Kind::InvalidInput, message).with_code("bascule:duplicate-key"));
        }
        items.push(Item { key, value });
    }
    Ok(items)
}

fn item_around<'w, 'a>(around: &Around<'w, 'a>, each: &ForEach, index: usize, item: &Item) -> Around<'w, 'a> {
    let mut around = around.clone();
    around.names.set(each.variable.clone(), item.value.clone());
    around.names.set(format!("{}_index", each.variable), index.into());
    around
}

/// The end of the step, from the ends of its items.
fn whole(items: &[Item], ends: Vec<Option<End>>) -> End {
    let mut status = Status::Succeeded;
    let mut problem: Option<(&str, Failure)> = None;
    let mut bad: u64 = 0;
    let ends: Vec<ItemEnd> = items
        .iter()
        .zip(ends)
        .map(|(item, end)| {
            let end = end.unwrap_or_else(End::not_begun);
            status = status.worse(end.status);
            if !end.status.is_fine() {
                bad += u64::from(end.status != Status::Cancelled || end.failure.is_some());
                if let (None, Some(failure)) = (&problem, &end.failure) {
                    problem = Some((&item.key, failure.clone()));
                }
            }
            ItemEnd { key: item.key.clone(), end }
        })
        .collect();
    // Items that were not begun because another one failed do not make the whole cancelled.
    if status == Status::Cancelled {
        let others =
            ends.iter().filter(|item| !(item.end.status == Status::Cancelled && item.end.failure.is_none()));
        let of_others = others.fold(Status::Succeeded, |status, item| status.worse(item.end.status));
        if of_others != Status::Succeeded && of_others != Status::Recovered {
            status = of_others;
        }
    }
    let failure = problem.map(|(key, first)| Failure {
        message: match bad {
            0 | 1 => format!("item `{key}`: {}", first.message),
            several => {
                format!("{several} of {} items, the first being `{key}`: {}", items.len(), first.message)
            }
        },
        ..first
    });
    let output = ends.iter().map(|item| item.end.output.clone()).collect();
    End { output, failure, items: Some(ends), ..End::not_begun().with_status(status) }
}
