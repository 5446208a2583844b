/** The dialog of an import: the file, the form, how far it is. */

import { randomKey } from "../../client/tasks.js";
import { formatBytes, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { RequestState } from "../../ui/request_state.js";
import { failureText } from "./failures.js";
import { ImportForm } from "./import_form.js";
import { Sheet } from "./sheet.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { TablesApi } from "./api.js"
 * @import { ImportData, TableData } from "./types.d.ts"
 */

const ENDINGS = ".csv,.tsv,.txt,.jsonl,.ndjson,.json,.xlsx,.gz";
const POLL_MS = 500;

export class ImportSheet {
  #api;
  #table;
  #onDone;
  #maxBytes;
  #sheet;
  #form;
  /** @type {ImportData|null} */
  #import = null;
  /** @type {{file: File, key: string}|null} */
  #sent = null;
  #request = new RequestState(() => this.#show());
  #isOver = false;
  #timer = 0;
  #isClosed = false;
  /** Requests are sent one after the other. @type {Promise<unknown>} */
  #queue = Promise.resolve();
  /** A name that is typed, and not sent yet. */
  #name = { text: "", timer: 0 };

  /**
   * @param {App} app @param {TablesApi} api @param {TableData|null} table null: the file becomes one
   * @param {(tableId: number) => void} onDone
   */
  constructor(app, api, table, onDone) {
    this.#api = api;
    this.#table = table;
    this.#onDone = onDone;
    this.#maxBytes = app.tableAssets.import_max_bytes;
    this.#form = new ImportForm(table, {
      onChange: (changes) => this.#change(changes),
      onRename: (name) => this.#renameSoon(name),
    });
    this.#sheet = new Sheet({
      heading: table ? t("tables.import_into", { name: table.name }) : t("tables.import_new"),
      isWide: true,
      request: this.#request,
      content: () => this.#template(),
    });
    this.#sheet.closed.then(() => this.#closed());
  }

  #show() {
    this.#sheet.show();
  }

  #closed() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#name.timer);
    // What was not started is not wanted.
    const { id, state } = this.#import ?? {};
    if (id && state !== "running" && state !== "done") this.#api.cancelImport(id).catch(() => {});
  }

  // --- The file -----------------------------------------------------------------------------------
  /** @param {File} file @param {string} [key] */
  async #send(file, key = randomKey()) {
    if (this.#request.isBusy) return;
    this.#sent = { file, key };
    await this.#request.run(async () => {
      if (file.size > this.#maxBytes) {
        throw { code: "file_too_large", message: formatBytes(this.#maxBytes) };
      }
      this.#take(await this.#api.sendImport(this.#table?.id ?? null, file, key));
    });
  }

  /** @param {ImportData} data */
  #take(data) {
    const before = this.#import?.state;
    this.#import = data;
    clearTimeout(this.#timer);
    const isUnderWay = data.state === "inspecting" || data.state === "running";
    if (isUnderWay && !this.#isClosed) {
      this.#timer = setTimeout(() => this.#poll(), POLL_MS);
    }
    if (data.state === "done" && before !== "done" && this.#table) this.#onDone(data.table ?? 0);
    this.#show();
  }

  async #poll() {
    try {
      this.#take(await this.#api.getImport(this.#import?.id ?? ""));
    } catch (error) {
      this.#request.error = error;
      // The import goes on; the connection comes back.
      this.#timer = setTimeout(() => this.#poll(), POLL_MS * 4);
      this.#show();
    }
  }

  /** @param {(id: string) => Promise<ImportData>} call */
  #enqueue(call) {
    const { id } = /** @type {ImportData} */ (this.#import);
    this.#queue = this.#queue.then(() => this.#request.run(async () => this.#take(await call(id))));
  }

  /** @param {object} changes */
  #change(changes) {
    this.#enqueue((id) => this.#api.changeImport(id, changes));
  }

  /** @param {string} text */
  #renameSoon(text) {
    clearTimeout(this.#name.timer);
    this.#name = { text, timer: setTimeout(() => this.#rename(), POLL_MS) };
  }

  #rename() {
    const { text, timer } = this.#name;
    if (!timer) return;
    clearTimeout(timer);
    this.#name = { text, timer: 0 };
    this.#change({ new_table: text });
  }

  #start() {
    this.#rename();
    this.#enqueue((id) => this.#api.startImport(id));
  }

  // --- Showing ------------------------------------------------------------------------------------
  #template() {
    const data = this.#import;
    return html`
      ${data ? this.#stateTemplate(data) : this.#dropTemplate()}
      ${this.#request.error?.code === "network" && !data
        ? html`
          <button type="button" class="button small" @click=${() =>
            this.#sent && this.#send(this.#sent.file, this.#sent.key)}>${t(
              "runs.send_again",
            )}</button>
        `
        : nothing}
    `;
  }

  #dropTemplate() {
    const take = (/** @type {FileList|null|undefined} */ files) => {
      if (files?.length) this.#send(files[0]);
    };
    const over = (/** @type {Event} */ event, /** @type {boolean} */ isOver) => {
      event.preventDefault();
      if (this.#isOver === isOver) return;
      this.#isOver = isOver;
      this.#show();
    };
    const drop = (/** @type {DragEvent} */ event) => {
      over(event, false);
      take(event.dataTransfer?.files);
    };
    return html`
      <label class="drop ${this.#isOver ? "over" : ""}" @drop=${drop}
        @dragover=${(/** @type {Event} */ event) => over(event, true)}
        @dragleave=${(/** @type {Event} */ event) => over(event, false)}>
        <input type="file" class="visually-hidden" accept=${ENDINGS} ?disabled=${this.#request
          .isBusy}
          aria-describedby="import-help"
          @change=${(/** @type {any} */ { target }) => take(target.files)}>
        ${icon("upload")}
        <strong>${t("runs.drop")}</strong>
        <span class="muted" id="import-help">
          ${t("tables.import_help", { size: formatBytes(this.#maxBytes) })}
        </span>
        <span class="drop-status" role="status">
          ${this.#request.isBusy ? t("runs.sending", { name: this.#sent?.file.name ?? "" }) : ""}
        </span>
      </label>
    `;
  }

  /** @param {ImportData} data */
  #stateTemplate(data) {
    const { state, reason, file_name: name } = data;
    if (state === "inspecting") return html`<p role="status">${t("tables.reading", { name })}</p>`;
    if (state === "running") return this.#progressTemplate(data);
    if (state === "done") return this.#doneTemplate(data);
    return html`
      ${reason
        ? html`<p class="form-error" role="alert">${failureText(data)} ${
          this.#reportLink(data)
        }</p>`
        : nothing}
      ${data.duplicate_of
        ? html`<p class="form-error">${t("tables.imported_before")}</p>`
        : nothing}
      ${this.#form.template(data)}
      <div class="dialog-actions">
        <button type="button" class="button" @click=${() => this.#sheet.close()}>
          ${t("dialog.cancel")}
        </button>
        <button type="button" class="button primary" @click=${() => this.#start()}
          ?disabled=${this.#request.isBusy || !data.columns.length}>
          ${data.total === null
            ? t("tables.import")
            : t("tables.import_rows", { count: data.total })}
        </button>
      </div>
    `;
  }

  /** @param {ImportData} data */
  #reportLink({ id, has_report }) {
    if (!has_report) return nothing;
    return html`<a href=${this.#api.reportAddress(id)} download>${t("tables.report")}</a>`;
  }

  /** @param {ImportData} data */
  #progressTemplate({ done, total }) {
    return html`
      <p role="status">${total === null
        ? t("tables.rows_read", { count: done })
        : t("tables.import_progress", { done, count: total })}</p>
      <progress max=${total ?? 1} .value=${total === null ? 0 : done}
        aria-label=${t("runs.progress")}></progress>
      <div class="dialog-actions">
        <button type="button" class="button" ?disabled=${this.#request.isBusy}
          @click=${() => this.#enqueue((id) => this.#api.cancelImport(id))}>
          ${icon("stop")}${t("tables.cancel_import")}
        </button>
      </div>
    `;
  }

  /** @param {ImportData} data */
  #doneTemplate(data) {
    const { created_rows: created, updated_rows: updated, skipped_rows: skipped } = data;
    const open = () => {
      this.#sheet.close();
      if (!this.#table && data.table) this.#onDone(data.table);
    };
    return html`
      <p role="status">${t("tables.import_done", { created, updated, skipped })}</p>
      ${data.bad_rows
        ? html`
          <p>
            ${t("tables.bad_rows", { count: data.bad_rows })}
            ${this.#reportLink(data)}
          </p>
        `
        : nothing}
      <div class="dialog-actions">
        <button type="button" class="button primary" @click=${open}>
          ${t(this.#table ? "tables.close" : "tables.open_table")}
        </button>
      </div>
    `;
  }
}
