// A run's figures: counted from its parts while it runs, the server's own once it has ended.

import { element } from "./dom.js";
import { percent, seconds } from "./words.js";

const NAMES = {
  acceptance: ["Acceptance rate", "accepted drafted tokens / drafted tokens"],
  length: ["Mean acceptance length", "1 + accepted tokens per round with a draft"],
  speed: ["Tokens per second", "after the first token"],
  perplexity: ["Output perplexity", "under the target; lower is what it finds likelier"],
  first: ["First token", "time from the request to the first committed tokens"],
  energy: ["Joules per token", "of draft and verify; only where the hardware counts it"],
};

export class Figures {
  constructor() {
    this.cells = {};
    const rows = Object.entries(NAMES).map(([name, [label, title]]) => {
      this.cells[name] = element("dd", { "data-figure": name }, "–");
      return element("div", { title }, element("dt", {}, label), this.cells[name]);
    });
    this.list = element("dl", { class: "figures" }, ...rows);
    this.began = performance.now();
    this.counts = { tokens: 0, later: 0, drafted: 0, accepted: 0, rounds: 0, logLikelihood: 0, known: 0 };
  }

  add(rounds) {
    const now = performance.now();
    const counts = this.counts;
    this.first ??= now;
    for (const round of rounds) {
      for (const { log_prob } of round.tokens) {
        if (log_prob === null) continue;
        counts.known += 1;
        counts.logLikelihood += log_prob;
      }
      if (now > this.first) counts.later += round.tokens.length;
      counts.tokens += round.tokens.length;
      counts.drafted += round.num_drafted;
      counts.accepted += round.num_accepted;
      if (round.num_drafted) counts.rounds += 1;
    }
    const elapsed = (now - this.first) / 1000;
    this.#show({
      accepted: counts.accepted, drafted: counts.drafted, rounds: counts.rounds,
      speed: elapsed > 0.02 ? counts.later / elapsed : null,
      perplexity: counts.known ? Math.exp(-counts.logLikelihood / counts.known) : null,
      first: (this.first - this.began) / 1000,
    });
  }

  /** The server's own, of the whole text. */
  finish(usage, wasResumed) {
    const perToken = usage.time_per_output_token_seconds;
    this.#show({
      accepted: usage.num_accepted_draft_tokens, drafted: usage.num_draft_tokens, rounds: usage.num_spec_steps,
      speed: perToken ? 1 / perToken : null,
      perplexity: usage.output_perplexity,
      first: wasResumed ? (this.first - this.began) / 1000 : usage.time_to_first_token_seconds,
    });
    const joules = usage.joules_per_token;
    this.cells.energy.textContent = joules === undefined ? "not measured" : `${joules.toPrecision(2)} J`;
    this.cells.energy.classList.toggle("quiet", joules === undefined);
  }

  #show({ accepted, drafted, rounds, speed, perplexity, first }) {
    const put = (name, value) => { this.cells[name].textContent = value; };
    put("acceptance", drafted ? percent(accepted / drafted) : "no draft");
    put("length", rounds ? (1 + accepted / rounds).toFixed(2) : "–");
    put("speed", speed === null ? "–" : speed.toFixed(0));
    put("perplexity", perplexity === null ? "–" : perplexity < 100 ? perplexity.toFixed(3) : perplexity.toPrecision(3));
    put("first", seconds(first));
    for (const name of ["acceptance", "length"]) this.cells[name].classList.toggle("quiet", !drafted);
  }
}
