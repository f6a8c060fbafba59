// The page: what is asked in the form is run in panels, one after the other, so that neither slows the other.

import { byId, element } from "./dom.js";
import { requestJson } from "./events.js";
import { Dials, Sampling, blame } from "./form.js";
import { authorization, isKeyMissing, typedKey } from "./key.js";
import { Panel } from "./panel.js";

const PLAIN = "autoregressive";
const DRAWN_SEEDS = 1e9;

const choices = await setUp();

const first = new Dials(byId("dials-a"), "a", "Method", choices, choices.defaults.method);
const other = choices.defaults.method === PLAIN ? "mtad" : PLAIN;
const second = new Dials(byId("dials-b"), "b", "Compared with", choices, other);
const sampling = new Sampling(byId("sampling"), choices);
const examples = new Map();
let running = null;

byId("served").append("serving ", element("strong", {}, choices.model));
byId("served").hidden = false;
byId("run").disabled = false;
byId("compare").addEventListener("change", showCompared);
byId("stop").addEventListener("click", () => running?.abort());
byId("form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});
showCompared();
if (choices.with_examples) await offerExamples();

/** What can be chosen, once the server lets us in. */
async function setUp() {
  for (;;) {
    try {
      return await requestJson("/playground/choices");
    } catch (error) {
      if (!isKeyMissing(error)) {
        byId("alert").textContent = `The page could not be set up: ${error.message}. Load it again.`;
        throw error;
      }
      if (authorization().Authorization) byId("alert").textContent = "That key is not valid here.";
    }
    await typedKey();
    byId("alert").textContent = "";
  }
}

function showCompared() {
  byId("dials-b").hidden = !byId("compare").checked;
}

async function offerExamples() {
  for (const example of await requestJson("/playground/examples")) examples.set(example.id, example);
  const select = byId("example");
  select.append(...[...examples.values()].map((one) => element("option", { value: one.id }, one.question)));
  const choose = () => { byId("prompt").value = examples.get(select.value).prompt; };
  select.addEventListener("change", choose);
  byId("examples-field").hidden = false;
  if (!byId("prompt").value) choose();
}

async function run() {
  if (running) return;
  const prompt = byId("prompt").value;
  const example = [...examples.values()].find((one) => one.prompt === prompt) ?? null;
  const shared = { prompt, ...sampling.asked };
  shared.seed ??= Math.floor(Math.random() * DRAWN_SEEDS);
  const asked = byId("compare").checked ? [first, second] : [first];
  const runs = asked.map((dials) => ({ panel: new Panel(dials.method), body: { ...shared, ...dials.asked } }));
  byId("panels").replaceChildren(...runs.map(({ panel }) => panel.node));
  running = new AbortController();
  show(null);
  if (byId("panels").getBoundingClientRect().top > innerHeight) byId("panels").scrollIntoView();
  let failure = null;
  for (const { panel, body } of runs) {
    if (failure || running.signal.aborted) {
      panel.skip();
      continue;
    }
    await panel.run(body, running.signal, example).catch((error) => { failure = error; });
  }
  running = null;
  show(failure);
}

function show(failure) {
  byId("run").disabled = running !== null;
  byId("stop").disabled = running === null;
  byId("alert").textContent = failure ? failure.message : "";
  blame(failure?.param);
  if (isKeyMissing(failure)) typedKey();
}
