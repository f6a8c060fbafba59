// The proposal of a round as a tree, with what the judgement kept of it.

import { drawn, element } from "./dom.js";
import { layout } from "./layout.js";
import { hideTip, showTip } from "./tip.js";
import { SOURCES, logProb, probability, seconds, visible } from "./words.js";

const BOX = 38;
const TOP = 26;
const STAGES = ["draft", "serialise", "wire", "queue", "forward", "judge", "commit", "emit"];

/** Everything there is to see of a round. */
export function roundView(round) {
  if (round.nodes === null) {
    return [element("p", { class: "quiet" }, "This round was committed while the connection was lost: its tokens were kept, its proposal was not.")];
  }
  const stages = STAGES.filter((name) => round.stage_seconds[name] >= 0.0005)
    .map((name) => `${name} ${seconds(round.stage_seconds[name])}`).join(" · ");
  return [
    element("p", { class: "verdict" }, verdict(round)),
    element("div", { class: "tree", tabindex: 0, role: "group", "aria-label": "Token tree of the round" }, tree(round)),
    round.nodes.length ? element("p", { class: "quiet stages" }, "q, p: joint log-probability of the path to a node under draft and target, after temperature, top-k and top-p.") : null,
    element("p", { class: "quiet stages" }, stages && `Where its time went: ${stages}`),
    table(round),
  ].filter((part) => part !== null);
}

function verdict(round) {
  if (!round.num_drafted) return "Nothing was drafted: the target wrote by itself.";
  const kept = round.num_accepted;
  if (kept === round.tokens.length) return `The text ended here, with ${kept} of ${round.num_drafted} drafted tokens.`;
  if (kept >= round.num_drafted) return `All ${kept} drafted tokens accepted.`;
  return `The judgement cut after ${kept} of ${round.num_drafted} drafted tokens.`;
}

function tree(round) {
  const found = layout(round);
  const width = found.width + 8;
  const height = TOP + found.height;
  const svg = drawn("svg", { width, height, viewBox: `-2 ${-TOP} ${width} ${height}`, "aria-hidden": "true" });
  const all = new Map([found.root, ...found.nodes].map((node) => [node.index, node]));
  for (const node of found.nodes) svg.append(edge(all.get(node.parent), node));
  if (round.num_drafted > round.num_accepted) svg.append(cut(found, round));
  for (const node of all.values()) svg.append(box(node));
  return svg;
}

function edge(from, to) {
  const [x, y] = [from.x + (from.index < 0 ? 28 : from.width), from.y + BOX / 2];
  const [toX, toY] = [to.x, to.y + BOX / 2];
  const middle = (x + toX) / 2;
  const path = `M${x} ${y}C${middle} ${y} ${middle} ${toY} ${toX} ${toY}`;
  return drawn("path", { d: path, class: `edge ${to.kind}` });
}

/** Behind this line nothing drafted was kept. */
function cut(found, { num_accepted: numAccepted, tokens }) {
  const x = found.lefts[numAccepted] + found.widths[numAccepted] + found.gap / 2;
  return drawn("g", { class: "cut" },
    drawn("line", { x1: x, x2: x, y1: -8, y2: found.height - 8 }),
    drawn("text", { x: x + 5, y: -12 }, tokens.length > numAccepted ? "cut" : "end"));
}

function box(node) {
  if (node.index < 0) {
    return drawn("g", { class: "node root" },
      drawn("circle", { cx: node.x + 14, cy: node.y + BOX / 2, r: 13 }),
      drawn("text", { x: node.x + 14, y: node.y + BOX / 2 + 3, "text-anchor": "middle" }, node.label));
  }
  const middle = node.x + node.width / 2;
  const below = node.token
    ? `p ${logProb(node.token.log_prob ?? null)}`
    : `q ${logProb(node.draft)}  p ${logProb(node.target)}`;
  const group = drawn("g", { class: `node ${node.kind}` },
    drawn("rect", { x: node.x, y: node.y, width: node.width, height: BOX, rx: node.token ? BOX / 2 : 7 }),
    drawn("text", { x: middle, y: node.y + 16, "text-anchor": "middle", class: "name" }, node.label),
    drawn("text", { x: middle, y: node.y + 30, "text-anchor": "middle", class: "joint" }, below));
  group.addEventListener("pointerenter", () => showTip(group, described(node)));
  group.addEventListener("pointerleave", hideTip);
  return group;
}

function described(node) {
  const title = `“${visible(node.name)}”`;
  if (node.token) return [title, SOURCES[node.token.source], `log-probability ${logProb(node.token.log_prob)}`];
  return [
    title,
    node.accepted ? "drafted and accepted" : "drafted, not kept",
    `joint log-probability to here: draft q ${logProb(node.draft)}, target p ${logProb(node.target)}`,
    `p/q ${ratio(node)}`,
  ];
}

function ratio({ draft, target }) {
  if (target === null) return "0";
  if (draft === null) return "∞";
  const value = Math.exp(target - draft);
  return value >= 1000 || value < 0.01 ? value.toExponential(1) : value.toFixed(2);
}

/** The same for those who read rather than look. */
function table(round) {
  const head = ["token", "after", "draft q", "target p", "p/q", "kept"];
  const rows = round.nodes.map((node) => [
    visible(node.name), node.parent < 0 ? "the text" : visible(round.nodes[node.parent].name),
    logProb(node.draft), logProb(node.target), ratio(node), node.accepted ? "yes" : "no",
  ]);
  for (const token of round.tokens.slice(round.num_accepted)) {
    const chance = token.log_prob === null ? "–" : `${logProb(token.log_prob)} (${probability(token.log_prob)})`;
    rows.push([visible(token.text || token.name), token.source, "–", chance, "–", "yes"]);
  }
  return element("details", {},
    element("summary", {}, "As a table"),
    element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Table of the round" }, element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))))))));
}
