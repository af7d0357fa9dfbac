// A recorder: connect, see its channels, choose a time range, export it, and watch that. It runs the workflows
// `recorder-overview` and `export-range`, so all of it can be done by hand, and stands in the list of runs.
import { get, post } from "./api.js";
import { el, fill, table, status, act, span } from "./dom.js";
import { failure, meter } from "./run.js";
import { later } from "./runs.js";

const OVERVIEW = "recorder-overview";
const EXPORT = "export-range";

const local = (date) => new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);

export async function show(box, { signal, hear }) {
  const known = (await get("/workflows", signal)).map((one) => one.id);
  box.append(el("h1", {}, "Recorders"));
  const missing = [OVERVIEW, EXPORT].filter((name) => !known.includes(name));
  if (missing.length > 0) {
    box.append(el("p", { class: "problem" }, `This section needs the workflow${missing.length > 1 ? "s" : ""} ${missing.join(" and ")}.`), el("p", { class: "hint" }, "They come with Bascule: copy them from its folder `workflows` into the project's."));
    return;
  }
  const last = JSON.parse(sessionStorage.getItem("bascule-recorder") ?? "{}");
  const ip = el("input", { id: "ip", required: true, value: last.ip ?? "", placeholder: "192.168.1.20", spellcheck: "false" });
  const port = el("input", { id: "port", type: "number", min: "1", max: "65535", value: last.port ?? 80 });
  const connect = el("button", {}, "Connect");
  const result = el("div", { "aria-live": "polite" });
  const form = el("form", { class: "card" },
    el("div", { class: "fields" }, el("div", {}, el("label", { for: "ip" }, "Address"), ip), el("div", {}, el("label", { for: "port" }, "HTTP port"), port)),
    el("p", { class: "hint" }, "User and password are those of the connection ", el("code", {}, "recorder"), " in bascule.yaml; they are not asked for here."), el("p", {}, connect));
  form.addEventListener("submit", act(connect, async () => {
    const device = { ip: ip.value.trim(), port: Number(port.value) };
    sessionStorage.setItem("bascule-recorder", JSON.stringify(device));
    result.replaceChildren(el("p", { class: "soft" }, "asking the recorder …"));
    const { run } = await post(`/workflows/${OVERVIEW}/runs`, { inputs: device });
    const ended = await end_of(run, signal);
    fill(result, ended.output ? recorder(device, ended, signal, hear) : el("div", { class: "card" }, failure(ended.error), el("a", { href: `#/runs/${run}` }, "What was tried")));
  }));
  box.append(form, result);
}

async function end_of(run, signal) {
  for (;;) {
    const detail = await get(`/runs/${run}`, signal);
    if (!["queued", "running"].includes(detail.run.status)) return { output: detail.run.status === "failed" ? null : detail.output, error: detail.error };
    await new Promise((next) => setTimeout(next, 300));
  }
}

function recorder(device, { output }, signal, hear) {
  const boxes = output.channels.map((channel) => {
    const id = `channel-${channel.id}`;
    const check = el("input", { type: "checkbox", id, value: channel.id, checked: channel.online !== false });
    return [check, el("tr", {}, el("td", {}, check), el("td", {}, el("label", { for: id, class: "inline" }, `${channel.id} · ${channel.name ?? "without a name"}`)), el("td", {}, channel.online === false ? status("offline") : channel.online ? el("span", { class: "status good" }, "online") : ""), el("td", { class: "soft minor" }, channel.model ?? ""), el("td", { class: "soft minor" }, channel.address ?? ""))];
  });
  const now = new Date();
  const from = el("input", { id: "from", type: "datetime-local", step: "1", required: true, value: local(new Date(now - 3600 * 1000)) });
  const to = el("input", { id: "to", type: "datetime-local", step: "1", required: true, value: local(now) });
  const start = el("button", {}, "Start the export");
  const watch = el("div", { "aria-live": "polite" });
  const form = el("form", { class: "card" },
    el("h2", {}, "Channels"), el("table", {}, el("tbody", {}, boxes.map(([, row]) => row))),
    el("h2", { class: "next" }, "Time range"),
    el("div", { class: "fields" }, el("div", {}, el("label", { for: "from" }, "From"), from), el("div", {}, el("label", { for: "to" }, "Until"), to)),
    el("p", { class: "hint" }, `By this computer's clock (${Intl.DateTimeFormat().resolvedOptions().timeZone}). Whole files of the recorder that touch the range are fetched.`), el("p", {}, start));
  form.addEventListener("submit", act(start, async () => {
    const channels = boxes.filter(([check]) => check.checked).map(([check]) => Number(check.value));
    if (channels.length === 0) throw new Error("choose at least one channel");
    const [begin, end] = [from, to].map((input) => new Date(input.value).toISOString());
    if (begin >= end) throw new Error("the range ends before it begins");
    const { run } = await post(`/workflows/${EXPORT}/runs`, { inputs: { ...device, channels, begin, end } });
    follow(watch, run, signal, hear);
  }));
  const disks = output.disks.map((disk) => `${disk.name ?? disk.id} ${Math.round(disk.capacity_mb / 1024)} GB, ${disk.status ?? "?"}`).join("; ");
  return [
    el("div", { class: "card" }, el("h2", {}, output.name || output.model), el("p", { class: "soft" }, [output.model, output.firmware, `serial ${output.serial}`, output.time ? `its clock says ${output.time}` : null, disks || null].filter(Boolean).join(" · "))),
    form, watch];
}

// The files of a running export with their progress.
function follow(box, run, signal, hear) {
  const bars = new Map();
  const rates = new Map();
  const stop = el("button", { class: "danger", type: "button" }, "Cancel");
  stop.addEventListener("click", act(stop, () => post(`/runs/${run}/cancel`)));
  const load = async () => {
    const detail = await get(`/runs/${run}`, signal);
    const files = detail.steps.find((step) => step.id === "files");
    const open = ["queued", "running"].includes(detail.run.status);
    const rows = (files?.inner ?? []).map((file) => {
      const bar = bars.get(file.place) ?? el("div", {});
      bars.set(file.place, bar);
      if (file.status) bar.replaceChildren();
      return [status(file.status ?? "running"), [file.item?.stem ?? file.key, el("div", { class: "soft small" }, `channel ${file.item?.channel ?? "?"}`)], [file.status ? file.output?.name ?? "" : bar, failure(file.error)], el("span", { class: "soft" }, span(file.started_at, file.ended_at))];
    });
    const total = detail.steps.find((step) => step.id === "search")?.output?.segments?.length;
    box.replaceChildren(el("div", { class: "card" },
      el("div", { class: "row spread" }, el("h2", {}, "Export ", status(detail.run.status)), el("div", { class: "row" }, el("a", { href: `#/runs/${run}` }, "Everything about it"), open ? stop : null)),
      failure(detail.error),
      total === undefined ? el("p", { class: "soft" }, "searching …") : el("p", {}, `${rows.filter((row) => row[0].textContent === "succeeded").length} of ${total} files are here`),
      table(["", "Recording", "File", ""], rows, total === 0 ? "Nothing was recorded in this range." : "")));
    return open;
  };
  load();
  hear((event) => { if (event.event === "progress" && event.run === run && bars.has(event.place)) meter(bars.get(event.place), rates, event); });
  later(hear, load, (event) => event.run === run && !["progress", "log"].includes(event.event));
}
