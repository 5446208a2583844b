/** The answers of a comparison: a row's two side by side, and what each side has cost. */

import { formatMoney, t } from "../../i18n/i18n.js";
import { html, nothing, repeat } from "../../lit.js";
import { explain } from "../../ui/notice.js";
import { plainText, shownText } from "./values.js";

/**
 * @import { ComparedAnswer, ComparedRow, ComparedSide, Comparison, Field, SideName, TruthPair, Value } from "./types.d.ts"
 *
 * @typedef {object} Parts
 * @property {Field[]} fields of the table
 * @property {Map<number, SideName>} better which side the user finds better, by row
 * @property {(row: number, side: SideName) => void} onBetter
 */

/** @type {SideName[]} */
const SIDES = ["a", "b"];
/** Of wrong answers, those that are listed. */
const MAX_PAIRS = 20;

/** @param {Comparison} comparison @param {Parts} parts */
export function comparedTemplate({ sides, rows }, parts) {
  const votes = [...parts.better.values()];
  return html`
    <div class="compare-sides">
      ${SIDES.map((name) => {
        const count = votes.filter((vote) => vote === name).length;
        return sideTemplate(name, sides[name], count, parts.fields);
      })}
    </div>
    <ol class="tried-rows compared-rows">
      ${repeat(rows, ({ row }) => row, (row) => rowTemplate(row, parts))}
    </ol>
  `;
}

/** @param {SideName} name @param {ComparedSide} side @param {number} votes @param {Field[]} fields */
function sideTemplate(name, { config, failed, cost, currency, ...side }, votes, fields) {
  const version = config?.version;
  return html`
    <section class="compared-side" aria-label=${t(`tables.side_${name}`)}>
      <strong>${t(`tables.side_${name}`)}</strong>
      ${config
        ? html`
          <span>${config.model || t("runs.usual_model")}</span>
          ${version
            ? html`<span>${t("tables.version_number", { number: version })}</span>`
            : nothing}
        `
        : html`<span class="muted">${t("tables.side_hidden")}</span>`}
      ${cost === undefined ? nothing : html`
        <span>${formatMoney(cost, currency ?? "")}</span>
        <span class="muted">${t("runs.tokens_of", {
          prompt: side.prompt_tokens ?? 0,
          completion: side.completion_tokens ?? 0,
        })}</span>
      `}
      ${failed
        ? html`<span class="row-error">${t("tables.failed_rows", { count: failed })}</span>`
        : nothing}
      ${votes ? html`<span>${t("tables.votes", { count: votes })}</span>` : nothing}
      ${Object.entries(side.truth ?? {}).map(([key, { compared, right, pairs }]) => {
        const field = fields.find((other) => other.key === key);
        const counts = { name: field?.name ?? key, right, count: compared };
        return html`
          <span dir="auto">${t("tables.right_answers", counts)}</span>
          ${wrongTemplate(pairs)}
        `;
      })}
    </section>
  `;
}

/** What was answered in place of what. @param {TruthPair[]} pairs the most frequent first */
function wrongTemplate(pairs) {
  const wrong = pairs.filter(({ truth, answer }) => truth !== answer);
  if (wrong.length === 0) return nothing;
  const count = wrong.reduce((sum, { rows }) => sum + rows, 0);
  return html`
    <details class="wrong-answers">
      <summary>${t("tables.wrong_answers", { count })}</summary>
      <table>
        <thead>
          <tr>
            <th scope="col">${t("tables.truth")}</th>
            <th scope="col">${t("tables.given_answer")}</th>
            <th scope="col">${t("tables.in_rows")}</th>
          </tr>
        </thead>
        <tbody>
          ${wrong.slice(0, MAX_PAIRS).map(({ truth, answer, rows }) =>
            html`
              <tr>
                <td dir="auto">${truth}</td>
                <td dir="auto">${answer || "–"}</td>
                <td>${rows}</td>
              </tr>
            `
          )}
        </tbody>
      </table>
    </details>
  `;
}

/** @param {ComparedRow} compared @param {Parts} parts */
function rowTemplate(compared, { fields, better, onBetter }) {
  const { row, inputs } = compared;
  const given = Object.entries(inputs ?? {}).map(([key, value]) => textOf(fields, key, value));
  const chosen = better.get(row);
  return html`
    <li>
      <p class="muted" dir="auto">${given.join(" · ")}</p>
      <div class="compare-sides">
        ${SIDES.map((name) =>
          html`
            <div class="compared-answer">
              ${answerTemplate(fields, compared[name])}
              <button type="button" class="button small" aria-pressed=${String(chosen === name)}
                aria-label=${t("tables.better_in_row", { side: t(`tables.side_${name}`), row })}
                @click=${() => onBetter(row, name)}>${t("tables.better")}</button>
            </div>
          `
        )}
      </div>
    </li>
  `;
}

/** @param {Field[]} fields @param {ComparedAnswer} answer */
function answerTemplate(fields, { values, error }) {
  if (error) return html`<p class="row-error">${explain(error).title}</p>`;
  const texts = Object.entries(values ?? {}).map(([key, value]) => {
    const field = fields.find((other) => other.key === key);
    return field ? shownText(field, value) : String(value ?? "");
  });
  return html`<p dir="auto">${texts.filter(Boolean).join(" · ") || "…"}</p>`;
}

/** @param {Field[]} fields @param {string} key @param {Value} value */
function textOf(fields, key, value) {
  const field = fields.find((other) => other.key === key);
  return field ? plainText(field, value) : String(value);
}
