// The text, token by token: each shows where it came from, and says more when it is looked at.

import { element } from "./dom.js";
import { hideTip, showTip } from "./tip.js";
import { SOURCES, logProb, probability, visible } from "./words.js";

const ANNOUNCE_MS = 1500;
const NEAR = 8;

export class TextView {
  /** `onRound` is told which round a token that is chosen belongs to. */
  constructor(label, onRound) {
    this.onRound = onRound;
    this.tokens = [];
    this.box = element("div", { class: "text", role: "group", "aria-label": `Tokens of ${label}; arrow keys move among them` });
    // Heard in stretches, as one text: token by token nobody could follow.
    this.spoken = element("p", { class: "unseen", role: "log", "aria-live": "polite", "aria-label": `Text of ${label}` });
    this.unsaid = "";
    for (const kind of ["focusin", "pointerover"]) this.box.addEventListener(kind, (event) => this.#look(event.target));
    for (const kind of ["focusout", "pointerleave"]) this.box.addEventListener(kind, hideTip);
    this.box.addEventListener("click", (event) => this.#choose(this.#index(event.target)));
    this.box.addEventListener("keydown", (event) => this.#move(event));
  }

  /** The characters of all tokens so far. */
  get text() {
    return this.tokens.map((token) => token.text).join("");
  }

  add(tokens, round) {
    const added = tokens.map((token) => {
      const mark = token.text ? null : token.name === "\ufffd" ? "◌" : token.name || "∅";
      const node = element("span", {
        class: `token ${token.source}${mark ? " mark" : ""}`, tabindex: -1, role: "button", "data-mark": mark,
      }, token.text);
      this.tokens.push({ ...token, round, node });
      return node;
    });
    if (this.tokens.length === added.length && added.length) added[0].tabIndex = 0;
    const wasAtEnd = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR;
    this.box.append(...added);
    if (wasAtEnd) this.box.scrollTop = this.box.scrollHeight;
    this.#say(tokens.map((token) => token.text).join(""));
  }

  /** What a text ends in that never became a whole character. */
  end(rest) {
    const last = this.tokens.at(-1);
    if (last && rest) {
      last.text += rest;
      last.node.append(rest);
      last.node.classList.remove("mark");
    }
    this.#say(rest);
    this.#speak();
  }

  highlight(round) {
    for (const token of this.tokens) token.node.classList.toggle("of-round", token.round === round);
  }

  #say(characters) {
    this.unsaid += characters;
    this.timer ??= setTimeout(() => this.#speak(), ANNOUNCE_MS);
  }

  #speak() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.unsaid) this.spoken.append(element("span", {}, this.unsaid));
    this.unsaid = "";
  }

  #index(node) {
    return this.tokens.findIndex((token) => token.node === node);
  }

  #look(node) {
    const token = this.tokens[this.#index(node)];
    if (!token) return hideTip();
    const lines = [`“${visible(token.text || token.name)}”`, SOURCES[token.source]];
    if (token.log_prob === null) lines.push("log-probability not kept");
    else lines.push(`log-probability ${logProb(token.log_prob)} (${probability(token.log_prob)}) under the target`);
    lines.push(token.text ? `round ${token.round + 1}` : `round ${token.round + 1} · adds no character by itself`);
    node.setAttribute("aria-label", lines.join(", "));
    showTip(node, lines);
  }

  #choose(index) {
    const token = this.tokens[index];
    if (!token) return;
    for (const one of this.tokens) one.node.tabIndex = one === token ? 0 : -1;
    token.node.focus({ preventScroll: true });
    token.node.scrollIntoView({ block: "nearest" });
    this.onRound(token.round);
  }

  #move(event) {
    const from = this.#index(document.activeElement);
    if (from < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.tokens.length - 1;
    const round = this.tokens[from].round;
    const to = {
      ArrowRight: Math.min(last, from + 1),
      ArrowLeft: Math.max(0, from - 1),
      ArrowDown: this.tokens.findIndex((token) => token.round === round + 1),
      ArrowUp: this.tokens.findIndex((token) => token.round === Math.max(0, round - 1)),
      Home: 0,
      End: last,
      Enter: from,
      " ": from,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#choose(to < 0 ? last : to);
  }
}
