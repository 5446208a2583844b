/** Rows in a table: what was given, and what came of it. */

import { t } from "../../i18n/i18n.js";
import { html, nothing, repeat } from "../../lit.js";
import { request } from "../../net/api.js";
import { explain } from "../../ui/notice.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { RunRow } from "../../client/types.d.ts"
 */

/** A row of a list has so many characters of its answer. */
const BEGINNING_CHARS = 500;
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
    return this.#texts.has(task_id ?? "") || (text ?? "").length < BEGINNING_CHARS;
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

/** @param {RunRow[]} rows @param {RowTexts} texts */
export function rowsTable(rows, texts) {
  return html`
    <table class="rows-table">
      <thead>
        <tr>
          <th scope="col">${t("runs.row_number")}</th>
          <th scope="col">${t("runs.row_given")}</th>
          <th scope="col">${t("runs.row_result")}</th>
        </tr>
      </thead>
      <tbody>${repeat(rows, ({ number }) => number, (row) => rowTemplate(row, texts))}</tbody>
    </table>
  `;
}

/** @param {RunRow} row @param {RowTexts} texts */
function rowTemplate(row, texts) {
  return html`
    <tr data-key=${row.number}>
      <th scope="row">${row.number}${row.key
        ? html`<span dir="auto">${row.key}</span>`
        : nothing}</th>
      <td>${givenTemplate(row)}</td>
      <td>${resultTemplate(row, texts)}</td>
    </tr>
  `;
}

/** @param {RunRow} row */
function givenTemplate({ payload }) {
  if (!payload) return html`<span class="muted">${t("runs.unreadable")}</span>`;
  const cells = cellsOf(payload);
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

/** @param {Record<string, unknown>} payload a row's columns, or a whole request */
export function cellsOf(payload) {
  const messages = payload.messages;
  const given = Array.isArray(messages) ? { [MESSAGE]: messages.at(-1)?.content } : payload;
  return Object.entries(given).map(([name, value]) => [name, textOf(value)]);
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
    <p class="row-text" dir="auto">${texts.of(row)}${isWhole ? "" : "…"}</p>
    ${isWhole ? nothing : all}
  `;
}

/** @param {RunRow} row */
function errorTemplate({ state, error }) {
  const { code = "", message = "" } = error ?? {};
  const { title } = explain({ code, message });
  return html`
    <p class="row-error"><strong>${title}</strong></p>
    <p class="row-message muted" lang="en">${message}</p>
    ${state === "failed" ? nothing : html`<span class="muted">${t(`runs.row.${state}`)}</span>`}
  `;
}
