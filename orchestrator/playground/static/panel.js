// One run: its text, its figures, its rounds, and how it stands.

import { element } from "./dom.js";
import { generation, request } from "./events.js";
import { Figures } from "./figures.js";
import { queryView } from "./queries.js";
import { RoundStrip } from "./rounds.js";
import { TextView } from "./text.js";
import { roundView } from "./tree.js";

const CUT_MARGIN = 140;
const ENDINGS = { stop: "ended by itself", length: "as long as asked" };

export class Panel {
  constructor(method) {
    this.rounds = [];
    this.undrawn = [];
    this.frame = null;
    this.isPinned = false;
    this.status = element("p", { class: "status", role: "status" }, "waiting for its turn");
    this.text = new TextView(method.name, (index) => this.#choose(index));
    this.strip = new RoundStrip(method.name, (index) => this.#choose(index));
    this.figures = new Figures();
    this.round = element("div", { class: "round" });
    this.extra = element("div", {});
    const badge = element("span", { class: "badge" }, method.lossless ? "lossless" : "lossy");
    this.node = element("article", { class: "panel", "aria-label": method.name, "data-state": "waiting" },
      element("header", {}, element("h3", {}, method.name), badge, this.status),
      this.text.box, this.text.spoken, this.extra, this.figures.list, this.strip.node, this.round);
  }

  /** Runs to the end; raises what ended it before. Once `signal` is aborted the server stops too. */
  async run(body, signal, example) {
    let sessionId = null;
    let isResumed = false;
    this.#stand("running", "starting…");
    this.figures.began = performance.now();
    const onLost = (why) => { isResumed = true; this.#stand("lost", `${why}; reconnecting…`); };
    const onBack = () => this.#stand("running", "writing…");
    try {
      for await (const event of generation(body, signal, { onLost, onBack })) {
        if (event.type === "started") {
          sessionId = event.session_id;
          this.#stand("running", "writing…");
        } else if (event.type === "part") {
          this.#add(event.rounds);
        } else {
          this.#finish(event, isResumed, example);
        }
      }
    } catch (error) {
      this.#draw();
      if (signal.aborted) {
        this.#stand("stopped", `stopped after ${this.text.tokens.length} tokens`);
        if (sessionId) await request("/playground/stop", { session_id: sessionId }).catch(() => {});
        return;
      }
      this.#stand("failed", `failed: ${error.message}`);
      throw error;
    }
  }

  skip() {
    this.#stand("stopped", "not run");
  }

  #add(rounds) {
    this.figures.add(rounds);
    this.undrawn.push(...rounds);
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  /** Once a frame, however many rounds came in it: the page stays quick to the touch. */
  #draw() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    const rounds = this.undrawn.splice(0);
    for (const round of rounds) {
      this.rounds.push(round);
      this.text.add(round.tokens, this.rounds.length - 1);
      this.strip.add(round);
    }
    if (rounds.length && !this.isPinned) this.#show(this.rounds.length - 1);
  }

  #finish(event, isResumed, example) {
    this.#draw();
    this.text.end(event.rest);
    this.figures.finish(event.usage, isResumed);
    const count = event.usage.completion_tokens;
    this.#stand("finished", `${count} tokens, ${ENDINGS[event.reason]} · seed ${event.usage.seed}`);
    if (!this.isPinned && this.rounds.length) this.#show(this.#mostTelling());
    if (example) this.extra.replaceChildren(queryView(example, this.text.text));
  }

  /** The first round in which something was refused; the last where nothing was. */
  #mostTelling() {
    const found = this.rounds.findIndex((round) => round.tokens.length > round.num_accepted && round.num_accepted < round.num_drafted);
    return found < 0 ? this.rounds.length - 1 : found;
  }

  #choose(index) {
    this.isPinned = true;
    this.#show(index);
  }

  #show(index) {
    this.strip.mark(index);
    this.text.highlight(index);
    this.round.replaceChildren(...roundView(this.rounds[index]));
    this.#revealCut();
  }

  #revealCut() {
    const tree = this.round.querySelector(".tree");
    const line = tree?.querySelector(".cut");
    if (line) tree.scrollLeft = line.getBoundingClientRect().left - tree.getBoundingClientRect().right + CUT_MARGIN;
  }

  #stand(state, words) {
    this.node.dataset.state = state;
    this.status.textContent = words;
  }
}
