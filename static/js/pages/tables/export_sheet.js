/** The dialog of an export: which rows as which file, and the way to it. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { checkField, idOf, selectField } from "./forms.js";
import { Sheet } from "./sheet.js";

/**
 * @import { TablesApi } from "./api.js"
 * @import { TableSession } from "./session.js"
 * @import { ExportData } from "./types.d.ts"
 */

const POLL_MS = 500;

export class ExportSheet {
  #api;
  #session;
  #sheet;
  #form = { format: "csv", isView: true, isForSpreadsheets: true, hasProvenance: false };
  /** @type {ExportData|null} */
  #export = null;
  #isBusy = false;
  /** @type {any} */
  #error = null;
  #timer = 0;

  /** @param {TablesApi} api @param {TableSession} session */
  constructor(api, session) {
    this.#api = api;
    this.#session = session;
    this.#sheet = new Sheet({ heading: t("tables.export"), content: () => this.#template() });
    this.#sheet.closed.then(() => clearTimeout(this.#timer));
  }

  async #start() {
    const { format, isView, isForSpreadsheets, hasProvenance } = this.#form;
    this.#isBusy = true;
    this.#error = null;
    this.#sheet.show();
    try {
      const isSpreadsheet = format === "csv" && isForSpreadsheets;
      this.#take(
        await this.#api.startExport(this.#session.data.id, {
          ...(isView ? this.#viewParts() : {}),
          format,
          provenance: hasProvenance,
          spreadsheet: isForSpreadsheets,
          bom: isSpreadsheet,
        }),
      );
    } catch (error) {
      this.#error = error;
    }
    this.#isBusy = false;
    this.#sheet.show();
  }

  /** The view as it is open here, whether that is stored or not. */
  #viewParts() {
    const { view, fieldsShown } = this.#session;
    const { filter, sorts } = view.state;
    return { filter, sorts, fields: fieldsShown.map(({ key }) => key) };
  }

  /** @param {ExportData} data */
  #take(data) {
    this.#export = data;
    if (data.state === "running") this.#timer = setTimeout(() => this.#poll(), POLL_MS);
    this.#sheet.show();
  }

  async #poll() {
    try {
      this.#take(await this.#api.getExport(this.#export?.id ?? ""));
    } catch (error) {
      this.#error = error;
      this.#timer = setTimeout(() => this.#poll(), POLL_MS * 4);
      this.#sheet.show();
    }
  }

  #template() {
    return html`
      ${this.#export ? this.#stateTemplate(this.#export) : this.#formTemplate()}
      <div class="notices">${notice(this.#error)}</div>
    `;
  }

  #formTemplate() {
    const form = this.#form;
    const set = (/** @type {Partial<typeof form>} */ changes) => {
      Object.assign(form, changes);
      this.#sheet.show();
    };
    return html`
      ${selectField({
        id: idOf(form, "format"),
        label: t("tables.format"),
        value: form.format,
        options: [["csv", "CSV"], ["xlsx", "XLSX"], ["jsonl", "JSONL"]],
        onChange: (format) => set({ format }),
      })}
      ${checkField({
        label: t("tables.export_view"),
        isOn: form.isView,
        onChange: (isView) => set({ isView }),
      })}
      ${form.format === "csv"
        ? checkField({
          label: t("tables.for_spreadsheets"),
          isOn: form.isForSpreadsheets,
          onChange: (isForSpreadsheets) => set({ isForSpreadsheets }),
        })
        : nothing}
      ${this.#session.aiFields.length
        ? checkField({
          label: t("tables.with_provenance"),
          isOn: form.hasProvenance,
          onChange: (hasProvenance) => set({ hasProvenance }),
        })
        : nothing}
      <div class="dialog-actions">
        <button type="button" class="button primary" ?disabled=${this.#isBusy}
          @click=${() => this.#start()}>${icon("download")}${t("tables.export")}</button>
      </div>
    `;
  }

  /** @param {ExportData} data */
  #stateTemplate({ id, state, done, message }) {
    if (state === "done") {
      return html`
        <p role="status">${t("tables.export_ready", { count: done })}</p>
        <div class="dialog-actions">
          <a class="button primary" href=${this.#api.exportAddress(id)} download>
            ${icon("download")}${t("tables.download")}
          </a>
        </div>
      `;
    }
    if (state === "running") {
      return html`<p role="status">${t("tables.rows_written", { count: done })}</p>`;
    }
    return html`<p class="form-error" role="alert">${message || t("tables.export_failed")}</p>`;
  }
}
