// The one small window that says more of what the pointer or the focus is on.

import { byId, element } from "./dom.js";

const GAP = 8;

/** Shows lines beside a node; the first one stands out. */
export function showTip(node, lines) {
  const tip = byId("tip");
  tip.replaceChildren(...lines.map((line, index) => element(index ? "span" : "strong", {}, line)));
  tip.hidden = false;
  const at = node.getBoundingClientRect();
  const own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(GAP, at.left), document.documentElement.clientWidth - own.width - GAP);
  const above = at.top - own.height - GAP;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > GAP ? above : at.bottom + GAP}px`;
}

export function hideTip() {
  byId("tip").hidden = true;
}

addEventListener("scroll", hideTip, { capture: true, passive: true });
addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
