// The page: a section for each word in the navigation, chosen by the address behind `#`.
import { token, get, listen, Refused } from "./api.js";
import { el, notice } from "./dom.js";
import * as overview from "./overview.js";
import * as runs from "./runs.js";
import * as run from "./run.js";
import * as workflows from "./workflows.js";
import * as recorders from "./recorders.js";
import * as triggers from "./triggers.js";
import * as connections from "./connections.js";

const SECTIONS = [
  ["", "Overview", overview], ["runs", "Runs", runs], ["workflows", "Workflows", workflows],
  ["recorders", "Recorders", recorders], ["triggers", "Triggers", triggers], ["connections", "Connections", connections],
];

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const link = document.getElementById("link");
const leave = document.getElementById("leave");
let section = new AbortController();
let heard = new Set();

function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  return { name, rest, query: new URLSearchParams(query) };
}

async function show() {
  section.abort();
  section = new AbortController();
  heard = new Set();
  const { signal } = section;
  const at = place();
  for (const item of nav.children) item.toggleAttribute("aria-current", item.dataset.name === at.name);
  for (const item of nav.querySelectorAll("[aria-current]")) item.setAttribute("aria-current", "page");
  const [, title, view] = SECTIONS.find(([name]) => name === at.name) ?? SECTIONS[0];
  const chosen = at.name === "runs" && at.rest[0] ? run : view;
  document.title = at.name === "" ? "Bascule" : `${title} – Bascule`;
  const content = el("div", {});
  main.replaceChildren(content);
  try {
    await chosen.show(content, { ...at, signal, hear: (work) => heard.add(work) });
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Refused && error.status === 401) return enter("This token is not accepted.");
    content.replaceChildren(el("h1", {}, title), el("p", { class: "problem" }, error.message), error.help ? el("p", { class: "hint" }, error.help) : null);
  }
}

// Asks for the token.
function enter(why) {
  token.forget();
  leave.hidden = true;
  link.textContent = "no token";
  link.className = "link off";
  const box = el("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = el("form", { class: "card" },
    el("h1", {}, "Bascule"),
    why ? el("p", { class: "problem" }, why) : null,
    el("p", {}, "This page asks for a token. The file with the first ones was named when the server started; ", el("code", {}, "bascule token create NAME --role operator"), " makes another."),
    el("label", { for: "token" }, "Token"), box,
    el("p", {}, el("button", {}, "Enter")));
  form.addEventListener("submit", (event) => { event.preventDefault(); token.set(box.value); begin(); });
  nav.replaceChildren();
  main.replaceChildren(form);
  box.focus();
}

let stream = new AbortController();

async function begin() {
  if (!token.get()) return enter();
  try {
    await get("/project");
  } catch (error) {
    if (error.status === 401) return enter("This token is not accepted.");
    notice(error.message);
  }
  leave.hidden = false;
  nav.replaceChildren(...SECTIONS.map(([name, title]) => el("a", { href: `#/${name}`, "data-name": name }, title)));
  stream.abort();
  stream = new AbortController();
  listen("/events", (event) => { for (const work of heard) work(event); }, stream.signal, (on) => {
    link.textContent = on ? "live" : "reconnecting";
    link.className = on ? "link on" : "link off";
  }).catch((error) => { if (error.status === 401) enter("This token is no longer accepted."); });
  await show();
}

leave.addEventListener("click", () => { stream.abort(); section.abort(); enter(); });
addEventListener("hashchange", () => { if (token.get()) show(); });
begin();
