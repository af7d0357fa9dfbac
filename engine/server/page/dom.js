// Making elements. Text always goes in as text, never as markup: what a device said is shown and not interpreted.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Puts children in, in place of what was there; what is null or false is left out.
export function fill(box, ...children) {
  box.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
}

// A sentence, with what stands in backticks as code.
export const prose = (text) => String(text).split("`").map((part, place) => place % 2 === 1 ? el("code", {}, part) : part);

const TONES = {
  succeeded: "good", recovered: "warn", skipped: "", queued: "busy", running: "busy", failed: "bad", cancelled: "warn",
  interrupted: "bad", "rolled-back": "warn", "rollback-incomplete": "bad", connected: "good", reconnecting: "warn", unknown: "warn", paused: "warn", overdue: "bad",
};

export const tone = (status) => TONES[status] ?? "";
export const status = (word) => el("span", { class: `status ${tone(word)}` }, word ?? "under way");

export function table(columns, rows, empty) {
  if (rows.length === 0) return el("p", { class: "soft" }, empty);
  return el("table", {},
    el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell))))));
}

export const time = (text) => text ? el("time", { datetime: text, title: text, class: "line" }, when(text)) : "–";

export function when(text) {
  const at = new Date(text);
  const today = new Date();
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return at.toDateString() === today.toDateString() ? clock : `${at.toLocaleDateString([], { day: "numeric", month: "short" })} ${clock}`;
}

export function span(from, to) {
  const ms = new Date(to ?? Date.now()) - new Date(from);
  if (ms < 1000) return `${ms} ms`;
  const s = ms / 1000;
  if (s < 90) return `${s.toFixed(1)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return `${(s / 3600).toFixed(1)} h`;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) { count /= 1000; at += 1; }
  return `${at === 0 ? count : count.toFixed(1)} ${units[at]}`;
}

let hide;
export function notice(text, fine = false) {
  const box = document.getElementById("notice");
  box.textContent = text;
  box.className = fine ? "fine" : "";
  box.hidden = false;
  clearTimeout(hide);
  hide = setTimeout(() => { box.hidden = true; }, 9000);
}

// Runs a button's work once at a time; what goes wrong is said.
export function act(button, work) {
  return async (event) => {
    event?.preventDefault();
    button.disabled = true;
    try { await work(); } catch (error) { notice([error.message, error.help].filter(Boolean).join(" – ")); } finally { button.disabled = false; }
  };
}
