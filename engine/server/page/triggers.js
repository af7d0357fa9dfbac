// What starts workflows: when, from where, and what came in.
import { get } from "./api.js";
import { el, table, status, time } from "./dom.js";

export async function show(box, { signal }) {
  const [triggers, deliveries, watches] = await Promise.all([get("/triggers", signal), get("/deliveries?limit=50", signal).catch(() => []), get("/triggers/overdue", signal).catch(() => [])]);
  box.append(
    el("h1", {}, "Triggers"),
    el("div", { class: "card" }, table(["Workflow", "Trigger", "", "Next", "State"], triggers.map((one) => {
      const trigger = one.trigger ?? one;
      return [el("a", { href: `#/workflows/${encodeURIComponent(trigger.workflow)}` }, trigger.workflow), trigger.id, [trigger.description, trigger.path ? el("div", {}, el("code", {}, `${(trigger.methods ?? []).join(" ")} ${trigger.path}`)) : null], time(one.next_at ?? null), one.state ? status(one.state) : ""];
    }), "No workflow has a trigger; all are started by hand.")),
    watches.length === 0 ? "" : el("div", { class: "card" }, el("h2", {}, "Watched for success"), table(["Workflow", "Last success", "Overdue", "Tells"], watches.map((one) => [el("a", { href: `#/workflows/${encodeURIComponent(one.watched)}` }, one.watched), one.last_success ? el("a", { href: `#/runs/${one.last_success}` }, time(one.last_success_at)) : "never", [one.overdue ? status("overdue") : "", " ", time(one.due_at), el("div", { class: "small soft" }, `after ${one.no_success_for} without one`)], [one.workflow, one.told_at ? el("div", { class: "small soft" }, ["told ", time(one.told_at)]) : null]]), "")),
    el("div", { class: "card" }, el("h2", {}, "What came in lately"), table(["When", "Workflow", "By", "What became of it", "Run"], deliveries.map((one) => [time(one.received_at), one.workflow, one.source, [one.verdict ?? "", one.reason ? el("div", { class: "small soft" }, one.reason) : null], [one.run ? el("a", { href: `#/runs/${one.run}` }, "show") : "", one.duplicates > 0 ? el("div", { class: "small soft" }, `came ${one.duplicates + 1} times`) : null]]), "Nothing yet.")));
}
