// The connections of bascule.yaml and how they are.
import { get, post } from "./api.js";
import { el, table, act } from "./dom.js";

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
    return [el("strong", {}, one.name), [one.description ?? "", parameters.length > 0 ? el("div", { class: "soft small" }, `each use says which: ${parameters.join(", ")}`) : null, outcome], one.auth, test];
  });
  box.append(el("h1", {}, "Connections"), el("div", { class: "card" }, table(["Name", "What", "Credentials", ""], rows, "bascule.yaml has none.")));
}
