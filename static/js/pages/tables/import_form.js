/** The form of an import that is ready: how the file is read, and where its columns go. */

import { isKey, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { kindName } from "./fields_menu.js";
import { checkField, idOf, inputField, selectField } from "./forms.js";
import { UNLINKED_KINDS } from "./values.js";

/** @import { ImportData, TableData } from "./types.d.ts" */

const ENCODINGS = ["utf-8", "gb18030", "utf-16-le", "utf-16-be", "big5", "shift_jis", "cp1252"];
const DATE_ORDERS = /** @type {const} */ (["ymd", "dmy", "mdy"]);
const DELIMITERS = /** @type {const} */ ([",", ";", "\t", "|"]);
/** More rows that do not fit end an import. */
const MAX_BAD_PERCENT = 10;
const SKIP = "";
const NEW = "new:";
const KEY_KINDS = ["text", "integer", "number", "date", "datetime", "url", "email"];

/** What is chosen of an import before it starts. */
export class ImportForm {
  #table;
  #onChange;
  #onRename;

  /**
   * @param {TableData|null} table null: the file becomes one
   * @param {{onChange: (changes: object) => void, onRename: (name: string) => void}} callbacks
   */
  constructor(table, { onChange, onRename }) {
    this.#table = table;
    this.#onChange = onChange;
    this.#onRename = onRename;
  }

  /** @param {ImportData} data */
  template(data) {
    const hasColumns = data.columns.length > 0;
    return html`
      ${this.#dialectTemplate(data)}
      ${hasColumns ? this.#mappingTemplate(data) : nothing}
      ${hasColumns ? this.#modeTemplate(data) : nothing}
    `;
  }

  /** @param {ImportData} data */
  #dialectTemplate({ dialect, format, sheets }) {
    const set = (/** @type {object} */ changes) => this.#onChange({ dialect: changes });
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
      ...UNLINKED_KINDS.map((
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
      this.#onChange({ mapping: mapping.toSpliced(place, 1, chosen) });
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
  #modeTemplate(data) {
    const { mode, key_field, mapping, max_bad_percent } = data;
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
            onChange: (key) => this.#onChange({ key_field: key }),
          })
          : nothing}
        ${this.#table ? nothing : this.#nameField(data)}
        ${checkField({
          label: t("tables.all_or_nothing"),
          isOn: max_bad_percent === 0,
          onChange: (isOn) => this.#onChange({ max_bad_percent: isOn ? 0 : MAX_BAD_PERCENT }),
        })}
      </div>
    `;
  }

  /** @param {string} mode @param {string} key */
  #setMode(mode, key) {
    this.#onChange({ mode, key_field: mode === "append" ? null : key });
  }

  /** @param {ImportData} data */
  #nameField({ new_table }) {
    return inputField({
      id: idOf(this, "name"),
      label: t("tables.name"),
      value: new_table ?? "",
      onChange: (name) => {
        if (name.trim()) this.#onRename(name.trim());
      },
    });
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
