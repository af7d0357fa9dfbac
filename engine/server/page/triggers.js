// What starts workflows: when, from where, and what came in.
import { get } from "./api.js";
import { el, table, status, time } from "./dom.js";

export async function show(box, { signal }) {
  const [triggers, deliveries] = await Promise.all([get("/triggers", signal), get("/deliveries?limit=50", signal).catch(() => [])]);
  box.append(
    el("h1", {}, "Triggers"),
    el("div", { class: "card" }, table(["Workflow", "Trigger", "", "Next", "State"], triggers.map((one) => {
      const trigger = one.trigger ?? one;
      return [el("a", { href: `#/workflows/${encodeURIComponent(trigger.workflow)}` }, trigger.workflow), trigger.id, [trigger.description, trigger.path ? el("div", {}, el("code", {}, `${(trigger.methods ?? []).join(" ")} ${trigger.path}`)) : null], time(one.next_at ?? null), one.state ? status(one.state) : ""];
    }), "No workflow has a trigger; all are started by hand.")),
    el("div", { class: "card" }, el("h2", {}, "What came in lately"), table(["When", "Workflow", "By", "What became of it", "Run"], deliveries.map((one) => [time(one.received_at), one.workflow, one.source, [one.verdict ?? "", one.reason ? el("div", { class: "small soft" }, one.reason) : null], [one.run ? el("a", { href: `#/runs/${one.run}` }, "show") : "", one.duplicates > 0 ? el("div", { class: "small soft" }, `came ${one.duplicates + 1} times`) : null]]), "Nothing yet.")));
}
