// One run: its steps, items and attempts, live while it is under way.
import { get, post } from "./api.js";
import { el, fill, prose, status, tone, time, span, act, notice, bytes } from "./dom.js";
import { later } from "./runs.js";

export function failure(error) {
  if (!error) return null;
  return el("p", { class: "problem" }, `${error.kind}: `, prose(error.message), error.code ? el("span", { class: "soft" }, ` [${error.code}]`) : null);
}

const json = (name, value) => value === null || value === undefined || (typeof value === "object" && Object.keys(value).length === 0) ? null
  : el("details", { class: "small" }, el("summary", {}, name), el("pre", {}, JSON.stringify(value, null, 2)));

function attempt(one) {
  const word = { done: "good", failed: "bad", unknown: "warn" }[one.outcome];
  return el("li", {}, el("span", { class: `status ${word}` }, one.outcome), ` ${one.role === "call" ? "" : `${one.role} `}`, el("code", {}, one.function),
    one.attempt > 1 ? ` attempt ${one.attempt}` : "", el("span", { class: "soft" }, ` ${span(one.started_at, one.ended_at)}`), failure(one.error));
}

function step(one, bars) {
  const word = one.status ?? "running";
  const counts = one.counts ? Object.entries(one.counts).filter(([name, count]) => count > 0 && name !== "total").map(([name, count]) => `${count} ${name}`).join(", ") : null;
  const bar = el("div", {});
  bars.set(one.place, bar);
  const items = one.inner.length > 0 ? inner(one, bars) : null;
  return el("div", { class: `step ${tone(word)}` },
    el("div", { class: "row" }, el("strong", {}, one.key ?? one.id), status(word), counts ? el("span", { class: "soft" }, counts) : null,
      el("span", { class: "soft small" }, span(one.started_at, one.ended_at)),
      one.waiting_until ? el("span", { class: "soft small" }, "next try ", time(one.waiting_until)) : null,
      one.undo ? el("span", { class: "soft small" }, `undo ${one.undo}`) : null),
    one.reason ? el("p", { class: "soft" }, one.reason) : null, failure(one.error), bar,
    el("div", { class: "row folds" }, one.attempts.length > 0 ? el("details", { class: "small", open: one.status === "failed" && one.inner.length === 0 }, el("summary", {}, `${one.attempts.length} call${one.attempts.length === 1 ? "" : "s"}`), el("ul", { class: "small" }, one.attempts.map(attempt))) : null,
    json("output", one.output)), items);
}

function inner(one, bars) {
  // What went wrong first, then what is under way, then what was made up for, then the rest.
  const order = ["bad", "busy", "warn", "", "good"];
  const rank = (item) => order.indexOf(tone(item.status ?? "running"));
  const sorted = one.key === null && one.counts ? [...one.inner].sort((a, b) => rank(a) - rank(b)) : one.inner;
  const wrong = sorted.filter((item) => !["succeeded", "skipped"].includes(item.status));
  const rest = sorted.filter((item) => ["succeeded", "skipped"].includes(item.status));
  return [wrong.map((item) => step(item, bars)),
    rest.length > 12 ? el("details", {}, el("summary", {}, `${rest.length} more`), rest.map((item) => step(item, bars))) : rest.map((item) => step(item, bars))];
}

// The rate and what is left, from what a plugin tells.
export function meter(box, memory, event) {
  const now = Date.now();
  const first = memory.get(event.place) ?? { at: now, done: event.done };
  memory.set(event.place, first);
  const seconds = (now - first.at) / 1000;
  const rate = seconds > 0.5 ? (event.done - first.done) / seconds : 0;
  const size = event.unit === "bytes" ? bytes : (count) => `${Math.round(count)} ${event.unit}`;
  const left = event.total && rate > 0 ? `, ${span(0, ((event.total - event.done) / rate) * 1000)} left` : "";
  fill(box,
    el("progress", { max: event.total ?? undefined, value: event.total ? event.done : undefined, "aria-label": event.place }),
    el("span", { class: "soft small" }, `${size(event.done)}${event.total ? ` of ${size(event.total)}` : ""}${rate > 0 ? `, ${size(rate)}/s${left}` : ""}`));
}

export async function show(box, { rest: [id], signal, hear }) {
  const bars = new Map();
  const rates = new Map();
  const load = async () => {
    const detail = await get(`/runs/${encodeURIComponent(id)}`, signal);
    if (signal.aborted) return;
    const { run } = detail;
    const open = ["queued", "running"].includes(run.status);
    const stop = el("button", { class: "danger", type: "button" }, "Cancel");
    stop.addEventListener("click", act(stop, async () => { await post(`/runs/${run.id}/cancel`); notice("asked to end; undo and finally still run", true); await load(); }));
    const again = el("button", { type: "button" }, "Run what did not succeed again");
    again.addEventListener("click", act(again, async () => { await post(`/runs/${run.id}/rerun`); await load(); }));
    const fine = ["succeeded", "recovered", "skipped"].includes(run.status);
    bars.clear();
    fill(box,
      el("div", { class: "row spread" },
        el("h1", {}, el("a", { href: `#/runs?workflow=${encodeURIComponent(run.workflow)}` }, run.workflow), " ", status(run.status)),
        el("div", { class: "row" }, open ? stop : null, open || fine ? null : again)),
      el("div", { class: "card" },
        el("p", {}, "Began ", time(run.started_at), `, ${open ? "under way for" : "took"} ${span(run.started_at, run.ended_at)}`, run.attempt > 1 ? `, attempt ${run.attempt}` : "", el("span", { class: "soft small" }, ` · ${run.id}`)),
        detail.held ? el("p", { class: "problem" }, "It cannot go on: ", prose(detail.held.reason)) : null,
        failure(detail.error), json("inputs", detail.inputs), json("started by", detail.trigger),
        detail.output === null ? null : el("details", { open: fine }, el("summary", {}, "output"), el("pre", {}, JSON.stringify(detail.output, null, 2)))),
      el("div", { class: "card" }, el("h2", {}, "Steps"), detail.steps.length === 0 ? el("p", { class: "soft" }, "None has begun.") : detail.steps.map((one) => step(one, bars))),
      logs(id, signal));
  };
  await load();
  const of_run = (event) => event.run?.startsWith(id) || id.startsWith(event.run ?? "-");
  hear((event) => { if (event.event === "progress" && of_run(event) && bars.has(event.place)) meter(bars.get(event.place), rates, event); });
  later(hear, load, (event) => of_run(event) && !["progress", "log"].includes(event.event));
}

function logs(id, signal) {
  const box = el("pre", {}, "…");
  const card = el("details", { class: "card" }, el("summary", {}, "Log"), box);
  card.addEventListener("toggle", async () => {
    if (!card.open) return;
    const lines = await get(`/runs/${encodeURIComponent(id)}/lines`, signal).catch((error) => [{ at: "", place: "", level: "error", message: error.message }]);
    box.textContent = lines.length === 0 ? "Nothing was written." : lines.map((line) => `${line.at} ${line.level} ${line.place}: ${line.message}`).join("\n");
  });
  return card;
}
