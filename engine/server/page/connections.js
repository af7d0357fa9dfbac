// The connections of bascule.yaml and how they are.
import { get, post } from "./api.js";
import { el, table, act, time } from "./dom.js";

// How the peers have been: those that fail first, and of many the first few.
const SHOWN = 20;

function health(peers) {
  if (peers.length === 0) return el("span", { class: "soft" }, "not asked yet");
  const sorted = [...peers].sort((one, other) => one.answering - other.answering || (one.peer < other.peer ? -1 : 1));
  const failing = peers.filter((one) => !one.answering).length;
  const lines = sorted.slice(0, SHOWN).map((one) => el("div", { class: "small" },
    el("span", { class: `status ${one.answering ? "good" : "bad"}` }, one.answering ? "answering" : one.last_failure), " ", el("code", {}, one.peer), " ",
    one.answering ? ["last ", time(one.last_answer_at)] : [`${one.failed_in_a_row} in a row, last `, time(one.last_failure_at), ", answered last ", time(one.last_answer_at)]));
  const more = peers.length > SHOWN ? el("div", { class: "soft small" }, `and ${peers.length - SHOWN} more`) : null;
  return [peers.length > 1 ? el("div", {}, failing === 0 ? `all ${peers.length} answer` : `${failing} of ${peers.length} fail`) : null, lines, more];
}

export async function show(box, { signal }) {
  const connections = await get("/connections", signal);
  const rows = connections.map((one) => {
    const parameters = one.params ?? [];
    const test = el("button", { class: "quiet", type: "button" }, "Test");
    const outcome = el("p", { role: "status" });
    test.addEventListener("click", act(test, async () => {
      let params = {};
      if (parameters.length > 0) {
        const text = prompt(`Parameters of ${one.name} as JSON:`, JSON.stringify(Object.fromEntries(parameters.map((name) => [name, name === "device" ? { ip: "", port: 80 } : ""]))));
        if (text === null) return;
        try { params = JSON.parse(text); } catch (error) { throw new Error(`that is not JSON: ${error.message}`); }
      }
      const said = await post(`/connections/${encodeURIComponent(one.name)}/test`, { params });
      outcome.className = said.ok ? "good-ink" : "problem";
      outcome.textContent = said.error ? `${said.error.kind}: ${said.error.message}`
        : `${said.origin} answered ${said.status} in ${said.elapsed_ms} ms${said.login ? `, logged in by ${said.login}` : ""}${said.tls_fingerprint ? `, certificate ${said.tls_fingerprint.slice(0, 16)}…` : ""}`;
    }));
    return [el("strong", {}, one.name), [one.description ?? "", parameters.length > 0 ? el("div", { class: "soft small" }, `each use says which: ${parameters.join(", ")}`) : null, outcome], one.auth, el("div", {}, health(one.health ?? [])), test];
  });
  box.append(el("h1", {}, "Connections"), el("div", { class: "card" }, table(["Name", "What", "Credentials", "Health", ""], rows, "bascule.yaml has none.")));
}
