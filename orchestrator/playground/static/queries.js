// Running a finished query on the sample database of its example, beside the query that answers the question.

import { element } from "./dom.js";
import { requestJson } from "./events.js";

export function queryView(example, sql) {
  const results = element("div", { class: "query-results", "aria-live": "polite" });
  const button = element("button", { type: "button" }, "Run the query on the sample database");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const found = await requestJson("/playground/query", { example: example.id, sql: sql.trim() });
      results.replaceChildren(...shown(found));
    } catch (error) {
      results.replaceChildren(element("p", { class: "alert" }, error.message));
    }
    button.disabled = false;
  });
  return element("div", { class: "query" }, button, results);
}

function shown(found) {
  const words = found.matches ? "✓ The same rows as the gold query gives." : "✗ Not the rows that the gold query gives.";
  return [
    element("p", { class: found.matches ? "match" : "mismatch" }, words),
    element("div", { class: "tables" }, rows("This query", found.answer), rows("Gold query", found.gold)),
  ];
}

function rows(title, found) {
  const parts = [element("h5", {}, title), element("code", {}, found.sql || "(empty)")];
  if (found.error) return element("div", {}, ...parts, element("p", { class: "quiet" }, `No rows: ${found.error}.`));
  const rest = found.num_rows - found.rows.length;
  const count = `${found.num_rows} row${found.num_rows === 1 ? "" : "s"}${rest ? `, ${rest} not shown` : ""}`;
  return element("div", {}, ...parts,
    element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `Rows of: ${title}` }, element("table", {},
      element("thead", {}, element("tr", {}, ...found.columns.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...found.rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))))))),
    element("p", { class: "quiet" }, count));
}
