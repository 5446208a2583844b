/** The first rows of a run, side by side: what was asked about, and what was answered. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { explain } from "../../ui/notice.js";
import { plainText, shownText } from "./values.js";

/**
 * @import { Context } from "./panel.js"
 * @import { Field, Row, RunCell, TableRunData, Value } from "./types.d.ts"
 * @typedef {{cell: RunCell, row: Row|undefined}} Tried
 */

const MAX_ROWS = 10;
const ENDED = ["succeeded", "failed"];

/** @param {Context} context @param {TableRunData} run @returns {Promise<Tried[]>} in their order */
export async function readTried({ api, session }, { id }) {
  const pages = await Promise.all(ENDED.map((state) => api.runRows(id, state, MAX_ROWS)));
  const cells = pages.flatMap(({ items }) => items).sort((a, b) => a.number - b.number)
    .slice(0, MAX_ROWS);
  if (cells.length === 0) return [];
  const filter = { and: [{ field: "id", op: "in", value: cells.map(({ row }) => row) }] };
  const { items } = await api.query(session.data.id, { filter, limit: MAX_ROWS });
  return cells.map((cell) => ({ cell, row: items.find((row) => row.id === cell.row) }));
}

/** @param {Tried[]} tried @param {Field[]} fields @param {number} aiField */
export function triedTemplate(tried, fields, aiField) {
  if (tried.length === 0) return nothing;
  const outputs = fields.filter(({ ai_field }) => ai_field === aiField);
  return html`
    <h4>${t("runs.tried")}</h4>
    <ol class="tried-rows">${tried.map((each) => triedRow(each, fields, outputs))}</ol>
  `;
}

/** @param {Tried} tried @param {Field[]} fields @param {Field[]} outputs */
function triedRow({ cell, row }, fields, outputs) {
  const given = Object.entries(cell.inputs ?? {}).map(([key, value]) => textOf(fields, key, value));
  const answers = outputs.map((field) => shownText(field, row?.values[field.key]));
  return html`
    <li>
      <p class="muted" dir="auto">${given.join(" · ")}</p>
      ${cell.error
        ? html`<p class="row-error">${explain(cell.error).title}</p>`
        : html`<p dir="auto">${answers.filter(Boolean).join(" · ")}</p>`}
    </li>
  `;
}

/** @param {Field[]} fields @param {string} key @param {Value} value */
function textOf(fields, key, value) {
  const field = fields.find((other) => other.key === key);
  return field ? plainText(field, value) : String(value);
}
