// How numbers and tokens are written for a reader.

export const SOURCES = {
  accepted: "drafted and accepted",
  correction: "correction: the target’s, in place of a refused draft",
  bonus: "bonus: the target’s, after a whole accepted draft",
  own: "the target’s own: nothing was drafted",
};

const VISIBLE = { "\n": "⏎", "\r": "␍", "\t": "⇥", " ": "␣" };

/** A token on one line, its spaces and ends of line visible. */
export const visible = (text) => text.replace(/[\n\r\t]|^ +| +$/g, (found) => [...found].map((c) => VISIBLE[c]).join(""));

export const shortened = (text, most) => ([...text].length > most ? [...text].slice(0, most - 1).join("") + "…" : text);

export const logProb = (value) => (value === null ? "−∞" : value.toFixed(2).replace("-", "−").replace(/^−0\.00$/, "0.00"));

export const percent = (part) => `${(100 * part).toFixed(part > 0 && part < 0.1 ? 1 : 0)}%`;

export function probability(value) {
  if (value === null) return "0";
  const chance = Math.exp(value);
  return chance >= 0.0005 ? `${(100 * chance).toFixed(chance > 0.9995 ? 0 : 1)}%` : chance.toExponential(1);
}

export const seconds = (value) => (value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(2)} s`);
