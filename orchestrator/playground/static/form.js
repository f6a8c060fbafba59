// The form: methods with the dials that each reads, sampling, and what they add up to.

import { byId, element } from "./dom.js";

const LABELS = {
  draft_length: "Draft length", beam_width: "Beam width", threshold: "Threshold",
  temperature: "Temperature", top_k: "Top-k", top_p: "Top-p", seed: "Seed", max_tokens: "Max tokens",
};
const DIALS = ["draft_length", "beam_width", "threshold"];
const SAMPLING = ["temperature", "top_k", "top_p", "max_tokens"];

function numberField(id, name, bounds) {
  const { min, max, above, below, whole } = bounds[name] ?? {};
  const input = element("input", {
    id, type: "number", "data-field": name, min: min ?? above, max: max ?? below, step: whole ? 1 : "any",
    inputmode: whole ? "numeric" : "decimal", autocomplete: "off",
  });
  return { input, field: element("p", { class: "field" }, element("label", { for: id }, LABELS[name]), input) };
}

const valueOf = (input) => (input.value.trim() === "" ? null : input.valueAsNumber);

/** A method and its dials; which are shown is the method's to say. */
export class Dials {
  constructor(host, letter, legend, choices, initial) {
    this.methods = new Map(choices.methods.map((method) => [method.name, method]));
    const id = (name) => `${name}-${letter}`;
    this.select = element("select", { id: id("method"), "data-field": "method" },
      ...choices.methods.map((method) => element("option", {}, method.name)));
    this.words = element("p", { class: "quiet words", id: id("words") });
    this.select.setAttribute("aria-describedby", this.words.id);
    this.fields = new Map(DIALS.map((name) => [name, numberField(id(name), name, choices.bounds)]));
    host.append(
      element("legend", {}, legend),
      element("p", { class: "field" }, element("label", { for: id("method"), class: "unseen" }, legend), this.select),
      this.words,
      element("div", { class: "numbers" }, ...[...this.fields.values()].map((one) => one.field)),
    );
    for (const name of ["draft_length", "beam_width"]) this.fields.get(name).input.value = choices.defaults[name];
    this.select.addEventListener("change", () => this.show());
    this.select.value = initial;
    this.show();
  }

  show() {
    const method = this.methods.get(this.select.value);
    this.words.replaceChildren(method.words);
    for (const [name, { field }] of this.fields) field.hidden = !method.dials.includes(name);
    // What is strict for one rule is lax for another: a threshold is the method's own again.
    const { input } = this.fields.get("threshold");
    input.value = method.threshold;
  }

  get method() {
    return this.methods.get(this.select.value);
  }

  /** Only what the method reads. */
  get asked() {
    const given = this.method.dials.map((name) => [name, valueOf(this.fields.get(name).input)]);
    return { method: this.method.name, ...Object.fromEntries(given) };
  }
}

/** What all methods share. The seed is drawn anew for each run unless it is kept. */
export class Sampling {
  constructor(host, choices) {
    this.fields = new Map(["seed", ...SAMPLING].map((name) => [name, numberField(`field-${name}`, name, choices.bounds)]));
    for (const name of SAMPLING) this.fields.get(name).input.value = choices.defaults[name];
    this.fields.get("seed").input.placeholder = "drawn";
    const order = [...SAMPLING, "seed"].map((name) => this.fields.get(name).field);
    host.append(element("div", { class: "numbers" }, ...order));
  }

  get asked() {
    return Object.fromEntries([...this.fields].map(([name, { input }]) => [name, valueOf(input)]));
  }
}

/** Points at the control that a refusal names, in the first set of dials that shows it. */
export function blame(param) {
  for (const input of document.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  if (!param) return;
  const found = param === "prompt" ? byId("prompt") : document.querySelector(`[data-field="${CSS.escape(param)}"]`);
  found?.setAttribute("aria-invalid", "true");
}
