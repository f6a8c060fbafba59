// Where the nodes of a proposal stand: depth goes right, and the top line is what became of the text.

import { shortened, visible } from "./words.js";

const CHARACTER = 8.4;
const PADDING = 20;
const LEAST_WIDTH = 112;
const MOST_CHARACTERS = 18;
const COLUMN_GAP = 26;
const ROW = 54;

/**
 * Nodes with `x`, `y`, `width`, `label` and `parent`; -1 stands for the end of the text before the round.
 * The target's own tokens follow the last accepted node.
 */
export function layout(round) {
  const nodes = round.nodes.map((node, index) => ({ ...node, index, kind: node.accepted ? "accepted" : "refused" }));
  let last = nodes.reduce((found, node) => (node.accepted ? node.index : found), -1);
  for (const token of round.tokens.slice(round.num_accepted)) {
    nodes.push({ name: token.text || token.name, token, parent: last, index: nodes.length, kind: token.source });
    last = nodes.length - 1;
  }
  const children = new Map([[-1, []]]);
  for (const node of nodes) {
    children.set(node.index, []);
    children.get(node.parent).push(node);
    node.depth = node.parent < 0 ? 1 : nodes[node.parent].depth + 1;
    node.label = shortened(visible(node.name), MOST_CHARACTERS);
  }
  // What the text took first, then by the draft's liking: the best stands straight ahead.
  const liking = (node) => (node.accepted || node.token ? Infinity : node.draft ?? -Infinity);
  for (const siblings of children.values()) siblings.sort((one, other) => liking(other) - liking(one) || 0);

  const depth = Math.max(0, ...nodes.map((node) => node.depth));
  const widths = Array.from({ length: depth + 1 }, (_, at) =>
    Math.max(LEAST_WIDTH, ...nodes.filter((node) => node.depth === at).map((node) => [...node.label].length * CHARACTER + PADDING)));
  widths[0] = 28;
  const lefts = [0];
  for (let at = 1; at <= depth; at += 1) lefts[at] = lefts[at - 1] + widths[at - 1] + COLUMN_GAP;

  let rows = 0;
  const place = (node) => {
    const own = children.get(node.index);
    node.row = own.length ? own.map(place)[0] : rows++;
    return node.row;
  };
  const root = { index: -1, depth: 0, kind: "root", label: "…" };
  place(root);
  for (const node of [root, ...nodes]) {
    Object.assign(node, { x: lefts[node.depth], y: node.row * ROW, width: widths[node.depth] });
  }
  return { root, nodes, lefts, widths, width: lefts[depth] + widths[depth], height: rows * ROW, row: ROW, gap: COLUMN_GAP };
}
