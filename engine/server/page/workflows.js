// The workflows: what they are for, starting them, pausing them.
import { get, post } from "./api.js";
import { el, fill, prose, table, status, act, notice } from "./dom.js";
import { fields } from "./form.js";

export async function show(box, { rest: [id], signal }) {
  return id ? one(box, id, signal) : all(box, signal);
}

async function all(box, signal) {
  const workflows = await get("/workflows", signal);
  box.append(el("h1", {}, "Workflows"), el("div", { class: "card" }, table(["Workflow", "What it does", "Started by", ""],
    workflows.map((one) => [el("a", { href: `#/workflows/${encodeURIComponent(one.id)}` }, one.name), one.description ?? "", one.triggers.length > 0 ? one.triggers.join(", ") : el("span", { class: "soft" }, "by hand"),
      one.paused ? status("paused") : one.running > 0 ? el("span", { class: "status busy" }, `${one.running} under way`) : ""]), "There are none yet: put YAML files into the project's folder `workflows`.")));
}

async function one(box, id, signal) {
  const path = `/workflows/${encodeURIComponent(id)}`;
  const { workflow, inputs, triggers, text } = await get(path, signal);
  const form = fields(inputs);
  const start = el("button", { type: "submit" }, "Start a run");
  const whole = el("form", {}, inputs.length > 0 ? form.box : el("p", { class: "soft" }, "It takes no inputs."), start);
  whole.addEventListener("submit", act(start, async () => {
    const started = await post(`${path}/runs`, { inputs: form.read() });
    location.hash = `#/runs/${started.run}`;
  }));
  const pause = el("button", { class: "quiet", type: "button" }, workflow.paused ? "Let runs begin again" : "Pause");
  pause.addEventListener("click", act(pause, async () => {
    if (workflow.paused) await post(`${path}/unpause`);
    else {
      const reason = prompt("Why? It is shown to whoever wonders why nothing runs.");
      if (reason === null) return;
      await post(`${path}/pause`, { reason });
    }
    notice(workflow.paused ? "runs begin again" : "paused; runs that are under way go on", true);
    await one(box, id, signal);
  }));
  fill(box,
    el("div", { class: "row spread" }, el("h1", {}, workflow.name, " ", workflow.paused ? status("paused") : null), el("div", { class: "row" }, el("a", { href: `#/runs?workflow=${encodeURIComponent(id)}` }, "Its runs"), pause)),
    workflow.description ? el("p", {}, workflow.description) : null,
    workflow.paused ? el("p", { class: "problem" }, "Paused: ", prose(workflow.paused.reason)) : null,
    el("div", { class: "card" }, whole),
    el("div", { class: "card" }, el("h2", {}, "Started by"), table(["Trigger", "Kind", ""], triggers.map((trigger) => [trigger.id, trigger.kind, [trigger.description, trigger.path ? el("div", {}, el("code", {}, `${trigger.methods.join(" ")} ${trigger.path}`)) : null]]), "Only by hand.")),
    el("details", { class: "card" }, el("summary", {}, `workflows/${id}.yaml`), el("pre", {}, text)));
}
