/** The dialog of an import: the file, how it is read, where its columns go, how far it is. */

import { randomKey } from "../../client/tasks.js";
import { formatBytes, isKey, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { kindName } from "./fields_menu.js";
import { checkField, idOf, inputField, selectField } from "./forms.js";
import { Sheet } from "./sheet.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { TablesApi } from "./api.js"
 * @import { ImportData, Kind, TableData } from "./types.d.ts"
 */

const ENDINGS = ".csv,.tsv,.txt,.jsonl,.ndjson,.json,.xlsx,.gz";
const ENCODINGS = ["utf-8", "gb18030", "utf-16-le", "utf-16-be", "big5", "shift_jis", "cp1252"];
const DATE_ORDERS = /** @type {const} */ (["ymd", "dmy", "mdy"]);
const DELIMITERS = /** @type {const} */ ([",", ";", "\t", "|"]);
const POLL_MS = 500;
/** More rows that do not fit end an import. */
const MAX_BAD_PERCENT = 10;
const SKIP = "";
const NEW = "new:";
/** Kinds that a column of a file can become. @type {Kind[]} */
const KINDS = [
  "text",
  "long_text",
  "integer",
  "number",
  "boolean",
  "date",
  "datetime",
  "select",
  "multi_select",
  "url",
  "email",
  "json",
];
const KEY_KINDS = ["text", "integer", "number", "date", "datetime", "url", "email"];

export class ImportSheet {
  #api;
  #table;
  #onDone;
  #maxBytes;
  #sheet;
  /** @type {ImportData|null} */
  #import = null;
  /** @type {{file: File, key: string}|null} */
  #sent = null;
  #isBusy = false;
  #isOver = false;
  /** @type {any} */
  #error = null;
  #timer = 0;
  #isClosed = false;
  /** Changes are stored one after the other. */
  #storing = Promise.resolve();

  /**
   * @param {App} app @param {TablesApi} api @param {TableData|null} table null: the file becomes one
   * @param {(tableId: number) => void} onDone
   */
  constructor(app, api, table, onDone) {
    this.#api = api;
    this.#table = table;
    this.#onDone = onDone;
    this.#maxBytes = app.tableAssets.import_max_bytes;
    this.#sheet = new Sheet({
      heading: table ? t("tables.import_into", { name: table.name }) : t("tables.import_new"),
      isWide: true,
      content: () => this.#template(),
    });
    this.#sheet.closed.then(() => this.#closed());
  }

  get #show() {
    return () => this.#sheet.show();
  }

  #closed() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    // What was not started is not wanted.
    const { id, state } = this.#import ?? {};
    if (id && state !== "running" && state !== "done") this.#api.cancelImport(id).catch(() => {});
  }

  // --- The file -----------------------------------------------------------------------------------
  /** @param {File} file @param {string} [key] */
  async #send(file, key = randomKey()) {
    if (this.#isBusy) return;
    this.#sent = { file, key };
    await this.#act(async () => {
      if (file.size > this.#maxBytes) {
        throw { code: "file_too_large", message: formatBytes(this.#maxBytes) };
      }
      this.#take(await this.#api.sendImport(this.#table?.id ?? null, file, key));
    });
  }

  /** @param {() => Promise<unknown>} action */
  async #act(action) {
    this.#isBusy = true;
    this.#error = null;
    this.#show();
    try {
      await action();
    } catch (error) {
      this.#error = error;
    } finally {
      this.#isBusy = false;
      if (!this.#isClosed) this.#show();
    }
  }

  /** @param {ImportData} data */
  #take(data) {
    const before = this.#import?.state;
    this.#import = data;
    clearTimeout(this.#timer);
    if (data.state === "inspecting" || data.state === "running") {
      this.#timer = setTimeout(() => this.#poll(), POLL_MS);
    }
    if (data.state === "done" && before !== "done" && this.#table) this.#onDone(data.table ?? 0);
    if (!this.#isClosed) this.#show();
  }

  async #poll() {
    try {
      this.#take(await this.#api.getImport(this.#import?.id ?? ""));
    } catch (error) {
      this.#error = error;
      // The import goes on; the connection comes back.
      this.#timer = setTimeout(() => this.#poll(), POLL_MS * 4);
      this.#show();
    }
  }

  /** @param {object} changes */
  #change(changes) {
    const { id } = /** @type {ImportData} */ (this.#import);
    this.#storing = this.#storing.then(() =>
      this.#act(async () => this.#take(await this.#api.changeImport(id, changes)))
    );
  }

  #start() {
    const { id } = /** @type {ImportData} */ (this.#import);
    this.#act(async () => {
      await this.#storing;
      this.#take(await this.#api.startImport(id));
    });
  }

  // --- Showing ------------------------------------------------------------------------------------
  #template() {
    const data = this.#import;
    return html`
      ${data ? this.#stateTemplate(data) : this.#dropTemplate()}
      <div class="notices">${notice(this.#error)}</div>
      ${this.#error?.code === "network" && !data
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
        <input type="file" class="visually-hidden" accept=${ENDINGS} ?disabled=${this.#isBusy}
          aria-describedby="import-help"
          @change=${(/** @type {any} */ { target }) => take(target.files)}>
        ${icon("upload")}
        <strong>${t("runs.drop")}</strong>
        <span class="muted" id="import-help">
          ${t("tables.import_help", { size: formatBytes(this.#maxBytes) })}
        </span>
        <span class="drop-status" role="status">
          ${this.#isBusy ? t("runs.sending", { name: this.#sent?.file.name ?? "" }) : ""}
        </span>
      </label>
    `;
  }

  /** @param {ImportData} data */
  #stateTemplate(data) {
    const { state, message, file_name: name } = data;
    if (state === "inspecting") return html`<p role="status">${t("tables.reading", { name })}</p>`;
    if (state === "running") return this.#progressTemplate(data);
    if (state === "done") return this.#doneTemplate(data);
    return html`
      ${message
        ? html`<p class="form-error" role="alert">${message} ${this.#reportLink(data)}</p>`
        : nothing}
      ${data.duplicate_of
        ? html`<p class="form-error">${t("tables.imported_before")}</p>`
        : nothing}
      ${this.#dialectTemplate(data)}
      ${data.columns.length ? this.#mappingTemplate(data) : nothing}
      ${data.columns.length ? this.#modeTemplate(data) : nothing}
      <div class="dialog-actions">
        <button type="button" class="button" @click=${() => this.#sheet.close()}>
          ${t("dialog.cancel")}
        </button>
        <button type="button" class="button primary" @click=${() => this.#start()}
          ?disabled=${this.#isBusy || !data.columns.length}>
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
  #dialectTemplate({ dialect, format, sheets }) {
    const set = (/** @type {object} */ changes) => this.#change({ dialect: changes });
    return html`
      <div class="import-dialect">
        ${format === "xlsx"
          ? selectField({
            id: idOf(this, "sheet"),
            label: t("tables.worksheet"),
            value: dialect.sheet ?? "",
            options: (sheets ?? []).map((name) => [name, name]),
            onChange: (sheet) => set({ sheet }),
          })
          : selectField({
            id: idOf(this, "encoding"),
            label: t("tables.encoding"),
            value: dialect.encoding ?? "utf-8",
            options: ENCODINGS.map((name) => [name, name.toUpperCase()]),
            onChange: (encoding) => set({ encoding }),
          })}
        ${format === "csv"
          ? selectField({
            id: idOf(this, "delimiter"),
            label: t("tables.delimiter"),
            value: dialect.delimiter ?? ",",
            options: DELIMITERS.map((mark) => [mark, delimiterName(mark)]),
            onChange: (delimiter) => set({ delimiter }),
          })
          : nothing}
        ${format === "jsonl" ? nothing : checkField({
          label: t("tables.has_header"),
          isOn: dialect.has_header ?? true,
          onChange: (has_header) => set({ has_header }),
        })}
        ${selectField({
          id: idOf(this, "dates"),
          label: t("tables.date_order"),
          value: dialect.date_order ?? "ymd",
          options: DATE_ORDERS.map((order) => [order, t(`tables.order_${order}`)]),
          onChange: (date_order) => set({ date_order }),
        })}
        ${checkField({
          label: t("tables.decimal_comma"),
          isOn: dialect.decimal_comma ?? false,
          onChange: (decimal_comma) => set({ decimal_comma }),
        })}
      </div>
    `;
  }

  /** @param {ImportData} data */
  #mappingTemplate(data) {
    const { columns, mapping, preview } = data;
    const targets = this.#targets();
    return html`
      <div class="import-preview" role="region" tabindex="0" aria-label=${t("tables.preview")}>
        <table>
          <thead>
            <tr>${columns.map(({ header }) => html`<th scope="col" dir="auto">${header}</th>`)}</tr>
            <tr>
              ${columns.map((column, place) =>
                html`<td>${this.#target(column, place, mapping, targets)}</td>`
              )}
            </tr>
          </thead>
          <tbody>
            ${preview.map((cells) =>
              html`<tr>${
                cells.map((cell) => html`<td dir="auto"><span>${cell ?? ""}</span></td>`)
              }</tr>`
            )}
          </tbody>
        </table>
      </div>
    `;
  }

  /** @returns {[string, string][]} where a column can go */
  #targets() {
    const fields = (this.#table?.fields ?? []).filter(({ kind, ai_field }) =>
      kind !== "link" && ai_field === null
    );
    return [
      [SKIP, t("tables.skip_column")],
      ...fields.map(({ key, name }) => /** @type {[string, string]} */ ([key, name])),
      ...KINDS.map((
        kind,
      ) => /** @type {[string, string]} */ ([
        NEW + kind,
        t("tables.new_field_of", { kind: kindName(kind) }),
      ])),
    ];
  }

  /** @param {ImportData["columns"][number]} column @param {number} place
   * @param {ImportData["mapping"]} mapping @param {[string, string][]} targets */
  #target({ name, kind }, place, mapping, targets) {
    const entry = mapping[place];
    const value = entry === null ? SKIP : "field" in entry ? entry.field : NEW + entry.new.kind;
    const choose = (/** @type {string} */ target) => {
      const chosen = target === SKIP
        ? null
        : target.startsWith(NEW)
        ? { new: { name: fieldName(entry, name), kind: target.slice(NEW.length) || kind } }
        : { field: target };
      this.#change({ mapping: mapping.toSpliced(place, 1, chosen) });
    };
    return selectField({
      id: idOf(this, `column-${place}`),
      label: t("tables.target_of", { name }),
      isHidden: true,
      value,
      options: targets,
      onChange: choose,
    });
  }

  /** @param {ImportData} data */
  #modeTemplate({ mode, key_field, mapping, max_bad_percent }) {
    const mapped = mapping.flatMap((entry) => entry && "field" in entry ? [entry.field] : []);
    const keys = (this.#table?.fields ?? []).filter(({ key, kind }) =>
      mapped.includes(key) && KEY_KINDS.includes(kind)
    );
    return html`
      <div class="import-dialect">
        ${keys.length
          ? selectField({
            id: idOf(this, "mode"),
            label: t("tables.import_mode"),
            value: mode,
            options: [
              ["append", t("tables.mode_append")],
              ["upsert", t("tables.mode_upsert")],
              ["skip", t("tables.mode_skip")],
            ],
            onChange: (name) => this.#setMode(name, key_field ?? keys[0].key),
          })
          : nothing}
        ${mode !== "append"
          ? selectField({
            id: idOf(this, "key"),
            label: t("tables.key_field"),
            value: key_field ?? "",
            options: keys.map(({ key, name }) => [key, name]),
            onChange: (key) => this.#change({ key_field: key }),
          })
          : nothing}
        ${this.#table ? nothing : this.#nameField()}
        ${checkField({
          label: t("tables.all_or_nothing"),
          isOn: max_bad_percent === 0,
          onChange: (isOn) => this.#change({ max_bad_percent: isOn ? 0 : MAX_BAD_PERCENT }),
        })}
      </div>
    `;
  }

  /** @param {string} mode @param {string} key */
  #setMode(mode, key) {
    this.#change({ mode, key_field: mode === "append" ? null : key });
  }

  #nameField() {
    return inputField({
      id: idOf(this, "name"),
      label: t("tables.name"),
      value: this.#import?.new_table ?? "",
      onChange: (name) => {
        if (name.trim()) this.#renameSoon(name.trim());
      },
    });
  }

  #renameTimer = 0;

  /** @param {string} name */
  #renameSoon(name) {
    clearTimeout(this.#renameTimer);
    this.#renameTimer = setTimeout(() => this.#change({ new_table: name }), POLL_MS);
  }

  /** @param {ImportData} data */
  #progressTemplate({ id, done, total }) {
    return html`
      <p role="status">${total === null
        ? t("tables.rows_read", { count: done })
        : t("tables.import_progress", { done, count: total })}</p>
      <progress max=${total ?? 1} .value=${total === null ? 0 : done}
        aria-label=${t("runs.progress")}></progress>
      <div class="dialog-actions">
        <button type="button" class="button" @click=${() =>
          this.#act(async () => this.#take(await this.#api.cancelImport(id)))}>
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

/** @param {ImportData["mapping"][number]} entry @param {string} name of the column */
function fieldName(entry, name) {
  return entry && "new" in entry ? entry.new.name : name;
}

/** @param {string} mark */
function delimiterName(mark) {
  const names = /** @type {Record<string, string>} */ ({
    ",": "comma",
    ";": "semicolon",
    "\t": "tab",
    "|": "bar",
  });
  const key = `tables.delimiter_${names[mark]}`;
  return isKey(key) ? t(key) : mark;
}
