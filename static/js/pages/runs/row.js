/** Rows in a table: what was given, and what came of it. */

import { t } from "../../i18n/i18n.js";
import { html, nothing, repeat } from "../../lit.js";
import { request } from "../../net/api.js";
import { detailTemplate, explain } from "../../ui/notice.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { RunRow } from "../../client/types.d.ts"
 */

/** What is longer is folded; a row of a list has no more than 500 characters anyway. */
const FOLDED = { chars: 300, lines: 5 };
const MAX_CELLS = 8;
/** The column of a whole request. */
export const MESSAGE = "messages[-1]";

/** Whole answers, of rows of which they were asked for. */
export class RowTexts {
  #app;
  #onChange;
  /** @type {Map<string, string>} by the task's id */
  #texts = new Map();

  /** @param {App} app @param {() => void} onChange */
  constructor(app, onChange) {
    this.#app = app;
    this.#onChange = onChange;
  }

  /** @param {RunRow} row */
  of({ task_id, text }) {
    return this.#texts.get(task_id ?? "") ?? text ?? "";
  }

  /** @param {RunRow} row @returns {boolean} */
  isWhole({ task_id, text }) {
    if (this.#texts.has(task_id ?? "") || !text) return true;
    return text.length <= FOLDED.chars && text.split("\n").length <= FOLDED.lines;
  }

  /** @param {RunRow} row */
  async load({ task_id }) {
    try {
      const task = await request("GET", `/llmchat/tasks/${task_id}`);
      this.#texts.set(task_id ?? "", task.result?.text ?? "");
    } catch (error) {
      this.#app.announce(explain(/** @type {any} */ (error)).title);
    }
    this.#onChange();
  }
}

/** @param {RunRow[]} rows @param {string[]|undefined} columns of the file @param {RowTexts} texts */
export function rowsTable(rows, columns, texts) {
  return html`
    <table class="rows-table">
      <thead>
        <tr>
          <th scope="col">${t("runs.row_number")}</th>
          <th scope="col">${t("runs.row_given")}</th>
          <th scope="col">${t("runs.row_result")}</th>
        </tr>
      </thead>
      <tbody>${repeat(
        rows,
        ({ number }) => number,
        (row) => rowTemplate(row, columns, texts),
      )}</tbody>
    </table>
  `;
}

/** @param {RunRow} row @param {string[]|undefined} columns @param {RowTexts} texts */
function rowTemplate(row, columns, texts) {
  return html`
    <tr data-key=${row.number}>
      <th scope="row">${row.number}${row.key
        ? html`<span dir="auto">${row.key}</span>`
        : nothing}</th>
      <td>${givenTemplate(row, columns)}</td>
      <td>${resultTemplate(row, texts)}</td>
    </tr>
  `;
}

/** @param {RunRow} row @param {string[]|undefined} columns */
function givenTemplate({ payload }, columns) {
  if (!payload) return html`<span class="muted">${t("runs.unreadable")}</span>`;
  const cells = cellsOf(payload, columns);
  const isOne = cells.length === 1;
  return html`
    <dl class="row-given">
      ${cells.slice(0, MAX_CELLS).map(([name, value]) =>
        html`
          <div>
            <dt class=${isOne ? "visually-hidden" : ""} dir="auto">${name === MESSAGE
              ? t("runs.message")
              : name}</dt>
            <dd dir="auto">${value}</dd>
          </div>
        `
      )}
    </dl>
  `;
}

/**
 * @param {Record<string, unknown>} payload a row's columns, or a whole request
 * @param {string[]} [columns] in the order of the file
 * @returns {[string, string][]} names and values
 */
export function cellsOf(payload, columns = []) {
  const messages = payload.messages;
  if (Array.isArray(messages)) return [[MESSAGE, textOf(messages.at(-1)?.content)]];
  // The database keeps no order of its own.
  const names = [...new Set([...columns, ...Object.keys(payload)])];
  return names.filter((name) => name in payload).map((name) => [name, textOf(payload[name])]);
}

/** @param {unknown} value @returns {string} */
export function textOf(value) {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

/** @param {RunRow} row @param {RowTexts} texts */
function resultTemplate(row, texts) {
  if (row.state === "succeeded") return answerTemplate(row, texts);
  if (row.error && row.state !== "open" && row.state !== "pending") return errorTemplate(row);
  return html`<span class="row-state ${row.state}">${t(`runs.row.${row.state}`)}</span>`;
}

/** @param {RunRow} row @param {RowTexts} texts */
function answerTemplate(row, texts) {
  const isWhole = texts.isWhole(row);
  const all = html`
    <button type="button" class="text-button" @click=${() => texts.load(row)}
      aria-label="${t("question.expand")}: ${row.number}">${t("question.expand")}</button>
  `;
  return html`
    <p class="row-text ${isWhole ? "" : "folded"}" dir="auto">${texts.of(row)}</p>
    ${isWhole ? nothing : all}
  `;
}

/** @param {RunRow} row */
function errorTemplate({ state, error }) {
  const { code = "", message = "", param = "", params } = error ?? {};
  const { title } = explain({ code, message, params });
  return html`
    <p class="row-error"><strong>${title}</strong></p>
    <p class="row-message">${param ? html`<code>${param}</code>` : nothing} ${detailTemplate({
      code,
      message,
      params,
    })}</p>
    ${state === "failed" ? nothing : html`<span class="muted">${t(`runs.row.${state}`)}</span>`}
  `;
}
