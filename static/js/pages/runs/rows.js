/** The rows of a run: why some have failed, and a page of them, by state and by reason. */

import { formatNumber, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { detailTemplate, explain, notice } from "../../ui/notice.js";
import { rowsTable, RowTexts } from "./row.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { Run } from "../../client/runs.js"
 * @import { ErrorGroup, RowPage } from "../../client/types.d.ts"
 */

const PAGE = 20;
const STATES = /** @type {const} */ ([
  "succeeded",
  "failed",
  "open",
  "pending",
  "cancelled",
  "expired",
  "invalid",
]);

export class Rows {
  #run;
  #onChange;
  #texts;
  /** @type {ErrorGroup[]} */
  #groups = [];
  /** @type {RowPage} */
  #page = { items: [], next: null };
  #state = "";
  #code = "";
  /** Where each page so far began. */
  #starts = [0];
  #isLoaded = false;
  #readings = 0;
  /** @type {any} */
  #error = null;

  /** @param {App} app @param {Run} run @param {{onChange: () => void}} callbacks */
  constructor(app, run, { onChange }) {
    this.#run = run;
    this.#onChange = onChange;
    this.#texts = new RowTexts(app, onChange);
  }

  async load() {
    const reading = ++this.#readings;
    const after = this.#starts.at(-1) ?? 0;
    const filters = { state: this.#state, code: this.#code, after, limit: PAGE };
    try {
      const [page, groups] = await Promise.all([this.#run.rows(filters), this.#run.errors()]);
      if (reading !== this.#readings) return;
      this.#page = page;
      this.#groups = groups;
      this.#error = null;
      this.#isLoaded = true;
    } catch (error) {
      if (reading !== this.#readings) return;
      this.#error = error;
    }
    this.#onChange();
  }

  /** @param {string} state @param {string} [code] */
  #filter(state, code = "") {
    this.#state = state;
    this.#code = code;
    this.#starts = [0];
    this.load();
  }

  /** @param {number} step */
  #turn(step) {
    if (step < 0) this.#starts.pop();
    else if (this.#page.next !== null) this.#starts.push(this.#page.next);
    this.load();
  }

  template() {
    return html`${this.#groups.length ? this.#reasons() : nothing} ${this.#list()}`;
  }

  #reasons() {
    return html`
      <section class="run-part" aria-labelledby="reasons-heading">
        <h2 id="reasons-heading">${t("runs.reasons")}</h2>
        <ul class="run-reasons">${this.#groups.map((group) => this.#group(group))}</ul>
      </section>
    `;
  }

  /** @param {ErrorGroup} group */
  #group({ code, message, rows, param, params }) {
    const { title } = explain({ code, message, params });
    const isChosen = code === this.#code;
    return html`
      <li>
        <span class="reason-rows">${formatNumber(rows)}</span>
        <span class="reason-text">
          <strong>${title}</strong>
          <span>${param ? html`<code>${param}</code>` : nothing} ${detailTemplate({
            code,
            message,
            params,
          })}</span>
        </span>
        <button type="button" class="button small" aria-pressed=${String(isChosen)}
          aria-label="${t("runs.show_rows")}: ${title}"
          @click=${() => this.#filter("", isChosen ? "" : code)}>${t("runs.show_rows")}</button>
      </li>
    `;
  }

  #list() {
    const change = (/** @type {any} */ { target }) => this.#filter(target.value);
    const { items, next } = this.#page;
    return html`
      <section class="run-part" aria-labelledby="rows-heading">
        <div class="run-part-head">
          <h2 id="rows-heading">${t("runs.rows_heading")}</h2>
          <div class="field">
            <label class="visually-hidden" for="rows-state">${t("runs.rows_state")}</label>
            <select id="rows-state" @change=${change}>
              <option value="" .selected=${this.#state === ""}>${t("runs.all_rows")}</option>
              ${STATES.map((state) =>
                html`<option value=${state} .selected=${state === this.#state}>
                  ${t(`runs.row.${state}`)}</option>`
              )}
            </select>
          </div>
        </div>
        ${this.#code ? this.#chosenReason() : nothing}
        <div class="notices">${notice(this.#error)}</div>
        ${this.#isLoaded && items.length === 0
          ? html`<p class="muted">${t("runs.no_rows")}</p>`
          : rowsTable(items, this.#run.data.columns, this.#texts)}
        <div class="run-pages">
          <button type="button" class="button small" ?disabled=${this.#starts.length < 2}
            @click=${() => this.#turn(-1)}>${t("runs.previous")}</button>
          <button type="button" class="button small" ?disabled=${next === null}
            @click=${() => this.#turn(1)}>${t("runs.next")}</button>
        </div>
      </section>
    `;
  }

  #chosenReason() {
    const { title } = explain({ code: this.#code });
    return html`
      <p class="chosen-reason">
        <span>${t("runs.only", { reason: title })}</span>
        <button type="button" class="text-button" @click=${() => this.#filter("")}>
          ${t("runs.all_rows")}
        </button>
      </p>
    `;
  }
}
