/** The dialog of an export: which rows as which file, and the way to it. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { RequestState } from "../../ui/request_state.js";
import { failureText } from "./failures.js";
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
  #request = new RequestState(() => this.#sheet.show());
  #timer = 0;

  /** @param {TablesApi} api @param {TableSession} session */
  constructor(api, session) {
    this.#api = api;
    this.#session = session;
    this.#sheet = new Sheet({
      heading: t("tables.export"),
      request: this.#request,
      content: () => this.#export ? this.#stateTemplate(this.#export) : this.#formTemplate(),
    });
    this.#sheet.closed.then(() => clearTimeout(this.#timer));
  }

  #start() {
    const { format, isView, isForSpreadsheets, hasProvenance } = this.#form;
    const options = {
      ...(isView ? this.#viewParts() : {}),
      format,
      provenance: hasProvenance,
      spreadsheet: isForSpreadsheets,
      bom: format === "csv" && isForSpreadsheets,
    };
    return this.#request.run(async () => {
      this.#take(await this.#api.startExport(this.#session.data.id, options));
    });
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
    clearTimeout(this.#timer);
    if (data.state === "running") this.#timer = setTimeout(() => this.#poll(), POLL_MS);
    this.#sheet.show();
  }

  async #poll() {
    try {
      this.#take(await this.#api.getExport(this.#export?.id ?? ""));
    } catch (error) {
      this.#request.error = error;
      this.#timer = setTimeout(() => this.#poll(), POLL_MS * 4);
      this.#sheet.show();
    }
  }

  /** @param {string} id */
  #cancel(id) {
    return this.#request.run(async () => this.#take(await this.#api.cancelExport(id)));
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
        <button type="button" class="button primary" ?disabled=${this.#request.isBusy}
          @click=${() => this.#start()}>${icon("download")}${t("tables.export")}</button>
      </div>
    `;
  }

  /** @param {ExportData} data */
  #stateTemplate(data) {
    const { id, state, done, total, reason } = data;
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
      return html`
        <p role="status">${total === null
          ? t("tables.rows_written", { count: done })
          : t("tables.export_progress", { done, count: total })}</p>
        <progress max=${total || 1} .value=${Math.min(done, total ?? 0)}
          aria-label=${t("runs.progress")}></progress>
        <div class="dialog-actions">
          <button type="button" class="button" ?disabled=${this.#request.isBusy}
            @click=${() => this.#cancel(id)}>${icon("stop")}${t("tables.cancel_export")}</button>
        </div>
      `;
    }
    if (state === "cancelled") return html`<p role="status">${t("tables.export_cancelled")}</p>`;
    return html`<p class="form-error" role="alert">${
      reason ? failureText(data) : t("tables.export_failed")
    }</p>`;
  }
}
