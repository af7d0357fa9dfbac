// What a site wants to know first: is it working, what went wrong, what comes next.
import { get } from "./api.js";
import { el, fill, prose, table, time } from "./dom.js";
import { line, COLUMNS, later } from "./runs.js";

const WRONG = "failed,interrupted,rolled-back,rollback-incomplete";

export async function show(box, { signal, hear }) {
  const load = async () => {
    const [project, workflows, wrong, latest, upcoming] = await Promise.all([
      get("/project", signal), get("/workflows", signal), get(`/runs?status=${WRONG}&limit=10`, signal), get("/runs?limit=15", signal),
      get("/triggers/upcoming?limit=8", signal).catch(() => []),
    ]);
    if (signal.aborted) return;
    const day = Date.now() - 24 * 3600 * 1000;
    const lately = wrong.filter((run) => new Date(run.ended_at ?? run.started_at) > day);
    const sum = (name) => workflows.reduce((all, one) => all + one[name], 0);
    const figure = (count, word, href) => el("a", { class: "card figure", href }, el("b", {}, String(count)), el("span", { class: "soft" }, word));
    fill(box,
      el("h1", {}, "Overview"),
      project.refused_edits.map((edit) => el("div", { class: "card wrong" }, el("h2", {}, prose(`\`${edit.file}\` was changed and is not in use`)), el("p", {}, "What was there before keeps running. Mend this and save the file:"), el("pre", {}, edit.problems))),
      el("div", { class: "cards" },
        figure(sum("running"), "runs under way", "#/runs?status=queued%2Crunning"), figure(sum("queued"), "runs waiting", "#/runs?status=queued%2Crunning"),
        figure(lately.length, "went wrong in the last 24 h", `#/runs?status=${encodeURIComponent(WRONG)}`), figure(workflows.filter((one) => one.paused).length, "workflows paused", "#/workflows")),
      el("div", { class: "card" }, el("h2", {}, "Went wrong lately"), table(COLUMNS, wrong.slice(0, 6).map(line), "Nothing went wrong.")),
      upcoming.length > 0 ? el("div", { class: "card" }, el("h2", {}, "Comes next"), table(["When", "Workflow"], upcoming.map((one) => [time(one.at), el("a", { href: `#/runs?workflow=${encodeURIComponent(one.workflow)}` }, one.workflow)]), "")) : null,
      el("div", { class: "card" }, el("h2", {}, "Latest runs"), table(COLUMNS, latest.map(line), "Nothing has run yet. Start something under Workflows.")));
  };
  await load();
  later(hear, load, (event) => event.event === "run-started" || event.event === "run-ended");
}
