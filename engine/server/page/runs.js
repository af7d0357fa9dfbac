// The list of runs.
import { get } from "./api.js";
import { el, prose, table, status, time, span } from "./dom.js";

const KINDS = { "": "all", "failed,interrupted,rolled-back,rollback-incomplete": "went wrong", "queued,running": "under way", "succeeded,recovered": "went well" };

export const line = (run) => [
  status(run.status), el("a", { class: "line", href: `#/runs/${run.id}` }, run.workflow), time(run.started_at),
  el("span", { class: "soft line" }, run.status === "queued" ? "waiting" : span(run.started_at, run.ended_at)), run.problem ? prose(run.problem) : "",
];
export const COLUMNS = ["Status", "Workflow", "Began", "Took", "What went wrong"];

export async function show(box, { query, signal, hear }) {
  const workflow = query.get("workflow") ?? "";
  const kind = query.get("status") ?? "";
  const list = el("div", { class: "card" });
  const choose = el("select", { id: "kind", "aria-label": "Which runs" }, Object.entries(KINDS).map(([value, word]) => el("option", { value, selected: value === kind }, word)));
  choose.addEventListener("change", () => {
    location.hash = `#/runs?${new URLSearchParams({ ...(workflow ? { workflow } : {}), ...(choose.value ? { status: choose.value } : {}) })}`;
  });
  box.append(el("div", { class: "row spread" }, el("h1", {}, workflow ? `Runs of ${workflow}` : "Runs"), el("div", {}, choose)), list);
  const load = async () => {
    const asked = new URLSearchParams({ limit: "100", ...(workflow ? { workflow } : {}), ...(kind ? { status: kind } : {}) });
    const runs = await get(`/runs?${asked}`, signal);
    list.replaceChildren(table(COLUMNS, runs.map(line), kind === "" ? "Nothing has run yet." : "There is none."));
  };
  await load();
  later(hear, load, (event) => event.event === "run-started" || event.event === "run-ended");
}

// Loads again shortly after something happened, at most every second.
export function later(hear, load, counts) {
  let due = null;
  hear((event) => {
    if (!counts(event) || due) return;
    due = setTimeout(() => { due = null; load().catch(() => {}); }, 400);
  });
}
