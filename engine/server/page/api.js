// Talking to the server. The token is kept for this tab only, and sent with every request; it never stands in an address.

const KEY = "bascule-token";

export class Refused extends Error {
  constructor(status, answer) {
    super(answer?.error?.message ?? answer?.message ?? `the server answered ${status}`);
    this.status = status;
    this.help = answer?.error?.help ?? answer?.help ?? null;
    this.problems = answer?.error?.problems ?? answer?.problems ?? [];
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value.trim()),
  forget: () => sessionStorage.removeItem(KEY),
};

async function ask(method, path, body, signal) {
  const headers = { Authorization: `Bearer ${token.get() ?? ""}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api/v1${path}`, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: "the server cannot be reached; is `bascule serve` still running?" });
  }
  const text = await response.text();
  let answer = null;
  try { answer = text === "" ? null : JSON.parse(text); } catch { answer = { message: text.slice(0, 300) }; }
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

export const get = (path, signal) => ask("GET", path, undefined, signal);
export const post = (path, body = {}) => ask("POST", path, body);

// Server-sent events. `EventSource` cannot send a token, so the stream is read by hand. Calls `heard` for each event, and
// `changed(true | false)` when the stream begins and ends; begins again by itself until `signal` is aborted.
export async function listen(path, heard, signal, changed = () => {}) {
  let wait = 500;
  while (!signal.aborted) {
    try {
      const response = await fetch(`/api/v1${path}`, { headers: { Authorization: `Bearer ${token.get() ?? ""}` }, signal });
      if (!response.ok) throw new Refused(response.status, await response.json().catch(() => null));
      changed(true);
      wait = 500;
      await lines(response.body.getReader(), heard);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && [401, 403, 404].includes(error.status)) throw error;
    }
    changed(false);
    await new Promise((next) => setTimeout(next, wait));
    wait = Math.min(wait * 2, 10000);
  }
}

async function lines(reader, heard) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data === "") continue;
      let event;
      try { event = JSON.parse(data); } catch { continue; }
      heard(event);
    }
  }
}
