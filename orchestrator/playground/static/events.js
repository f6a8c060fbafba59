// Server-sent events of a POST, and the rest of them after a lost connection.

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 4000;
const MAX_TRIES = 12;

/** What the server says is wrong, in its own words. */
export class Refused extends Error {
  constructor(error, retryAfter = 0) {
    super(error.message);
    this.param = error.param ? error.param.split(".").pop() : null;
    this.code = error.code;
    this.retryAfter = retryAfter;
  }

  /** Whether the same may succeed a little later. */
  get isPassing() {
    return ["unavailable", "overloaded", "out_of_kv"].includes(this.code);
  }
}

/** Nothing more can be heard of the server. */
class Lost extends Error {}

export async function request(path, body, signal) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, { ...options, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Lost("the server cannot be reached");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  const error = told?.error ?? { message: `the server answered ${answer.status}`, code: answer.status >= 502 ? "unavailable" : null };
  throw new Refused(error, Number(answer.headers.get("Retry-After")) || 0);
}

export const requestJson = async (path, body, signal) => (await request(path, body, signal)).json();

async function* events(path, body, signal) {
  const answer = await request(path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (pending + value).split("\n\n");
      pending = blocks.pop();
      for (const block of blocks) {
        if (block.startsWith(":")) continue; // a comment: the server is there, and has nothing to tell
        const event = JSON.parse(block.replace(/^data: /, ""));
        if (event.error) throw new Refused(event.error);
        yield event;
      }
    }
  } catch (error) {
    if (signal.aborted || error instanceof Refused) throw error;
    throw new Lost("the connection was lost");
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * All events of a generation up to the last one. When the connection is lost after it has begun, the rest is asked for:
 * `onLost` is told why, `onBack` once it goes on.
 */
export async function* generation(body, signal, { onLost, onBack }) {
  let at = null;
  let tries = 0;
  for (;;) {
    try {
      const asked = at === null ? ["/playground/generate", body] : ["/playground/resume", at];
      for await (const event of events(...asked, signal)) {
        if (tries) onBack();
        tries = 0;
        if (event.type === "started" && at !== null) continue;
        yield event;
        if (event.type === "finished") return;
        at = { session_id: event.session_id ?? at.session_id, position: event.position, digest: event.digest };
      }
      throw new Lost("the connection ended before the text did");
    } catch (error) {
      const mayPass = error instanceof Lost || (error instanceof Refused && error.isPassing);
      if (signal.aborted || at === null || !mayPass || tries >= MAX_TRIES) throw error;
      onLost(error.message);
      const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries);
      tries += 1;
      await pause(Math.max(wait, 1000 * (error.retryAfter ?? 0)), signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
