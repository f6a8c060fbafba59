// The rounds in a row, a column each: a cell a drafted token, filled where it was accepted, and the target's own on top.

import { element } from "./dom.js";

export class RoundStrip {
  /** `onChosen` is told the index of a round that the reader chooses. */
  constructor(label, onChosen) {
    this.onChosen = onChosen;
    this.columns = [];
    this.at = -1;
    this.title = element("h4", { "aria-live": "polite" }, "Rounds");
    this.back = element("button", { type: "button", class: "step", "aria-label": "Previous round", onclick: () => this.choose(this.at - 1) }, "‹");
    this.forth = element("button", { type: "button", class: "step", "aria-label": "Next round", onclick: () => this.choose(this.at + 1) }, "›");
    this.strip = element("div", { class: "strip", role: "group", "aria-label": `Rounds of ${label}; arrow keys move among them` });
    this.strip.addEventListener("keydown", (event) => this.#move(event));
    this.node = element("div", { class: "rounds" }, element("div", { class: "steps" }, this.back, this.title, this.forth), this.strip);
    this.#refresh();
  }

  add(round) {
    const index = this.columns.length;
    const drafted = Array.from({ length: round.num_drafted }, (_, depth) =>
      element("i", { class: depth < round.num_accepted ? "cell accepted" : "cell refused" }));
    const own = round.tokens.slice(round.num_accepted).map((token) => element("i", { class: `cell ${token.source}` }));
    const column = element("button", {
      type: "button", class: "column", tabindex: index ? -1 : 0,
      "aria-label": `Round ${index + 1}: ${round.num_accepted} of ${round.num_drafted} drafted tokens accepted`,
      onclick: () => this.choose(index),
    }, ...drafted.slice(0, round.num_accepted), ...own, ...drafted.slice(round.num_accepted));
    this.columns.push(column);
    this.strip.append(column);
    this.#refresh();
  }

  /** By the reader. */
  choose(index) {
    if (index < 0 || index >= this.columns.length) return;
    this.onChosen(index);
  }

  mark(index) {
    this.columns[this.at]?.removeAttribute("aria-current");
    this.at = index;
    const column = this.columns[index];
    for (const one of this.columns) one.tabIndex = one === column ? 0 : -1;
    column.setAttribute("aria-current", "true");
    const { left, right } = column.getBoundingClientRect();
    const box = this.strip.getBoundingClientRect();
    if (right > box.right) this.strip.scrollLeft += right - box.right + 8;
    if (left < box.left) this.strip.scrollLeft += left - box.left - 8;
    this.#refresh();
  }

  #move(event) {
    const to = { ArrowRight: this.at + 1, ArrowLeft: this.at - 1, Home: 0, End: this.columns.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(to);
    this.columns[this.at]?.focus({ preventScroll: true });
  }

  #refresh() {
    const count = this.columns.length;
    this.title.textContent = count ? `Round ${this.at + 1} of ${count}` : "Rounds";
    this.back.disabled = this.at <= 0;
    this.forth.disabled = this.at >= count - 1;
  }
}
