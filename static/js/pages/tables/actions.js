/** What is done to the selected cells: copied, pasted, cleared, filled, deleted. */

import { t } from "../../i18n/i18n.js";
import { fromTsv, toTsv } from "./clipboard.js";
import { parseText, plainText } from "./values.js";

/**
 * @import { Edits } from "./edits.js"
 * @import { TableGrid } from "./grid.js"
 * @import { Field, Row, Value } from "./types.d.ts"
 *
 * @typedef {object} Surface what the actions read and change
 * @property {() => TableGrid|null} grid
 * @property {() => Edits} edits
 * @property {() => Field[]} fields that are shown
 * @property {(line: number) => Row|null} rowAt null: none, a heading, or not there yet
 * @property {(top: number, bottom: number) => Promise<(Row|null)[]>} rows
 * @property {() => number} lines
 * @property {(row: Row, field: Field) => Value} valueOf
 * @property {(rows: Record<string, Value>[], cells: CellEdit[]) => Promise<void>} write new rows,
 * and changed cells
 * @property {(message: string) => void} say
 * @property {boolean} mayEdit
 *
 * @typedef {{rowId: number, key: string, was: Value, value: Value}} CellEdit
 */

/** Rows that are copied, cleared or deleted at once. */
const MAX_ROWS = 10_000;

export class Actions {
  #on;

  /** @param {Surface} on */
  constructor(on) {
    this.#on = on;
  }

  get #selection() {
    const grid = this.#on.grid();
    const selection = grid?.selection ?? null;
    if (!selection) return null;
    return { ...selection, bottom: Math.min(selection.bottom, selection.top + MAX_ROWS - 1) };
  }

  /** Where a table without rows begins. */
  get #beginning() {
    const fields = this.#on.fields().slice(0, 1);
    return this.#on.lines() === 0 && fields.length ? { top: 0, bottom: 0, fields } : null;
  }

  /** As much as can be acted on at once. */
  selectAll() {
    const lines = Math.min(this.#on.lines(), MAX_ROWS);
    if (lines > 0) this.#grid?.selectAll(lines);
  }

  // --- Copying ------------------------------------------------------------------------------------
  /** @param {ClipboardEvent} event */
  copy(event) {
    const selection = this.#selection;
    if (!selection) return;
    event.preventDefault();
    const { top, bottom, fields } = selection;
    /** @type {(Row|null)[]} */
    const known = [];
    for (let line = top; line <= bottom; line++) known.push(this.#on.rowAt(line));
    if (known.every(Boolean)) {
      event.clipboardData?.setData("text/plain", this.#text(known, fields));
      return this.#on.say(t("tables.copied", { count: known.length }));
    }
    this.#copyUnread(top, bottom, fields);
  }

  /** Rows that have not been scrolled to are read first. @param {number} top @param {number} bottom
   * @param {Field[]} fields */
  async #copyUnread(top, bottom, fields) {
    const text = this.#on.rows(top, bottom).then((rows) => this.#text(rows, fields));
    const blob = text.then((plain) => new Blob([plain], { type: "text/plain" }));
    try {
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
      this.#on.say(t("tables.copied", { count: bottom - top + 1 }));
    } catch (error) {
      console.warn("the clipboard", error);
      this.#on.say(t("tables.not_copied"));
    }
  }

  /** @param {(Row|null)[]} rows @param {Field[]} fields */
  #text(rows, fields) {
    return toTsv(
      rows.filter((row) => row !== null).map((row) =>
        fields.map((field) => plainText(field, this.#on.valueOf(row, field)))
      ),
    );
  }

  // --- Pasting ------------------------------------------------------------------------------------
  /** @param {ClipboardEvent} event */
  paste(event) {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!this.#on.mayEdit || text === "") return;
    event.preventDefault();
    this.pasteText(text);
  }

  /** @param {string} text of a spreadsheet */
  async pasteText(text) {
    const selection = this.#selection ?? this.#beginning;
    const table = fromTsv(text);
    if (!selection) return;
    if (table.length > MAX_ROWS) {
      return this.#on.say(t("tables.too_many_pasted", { count: MAX_ROWS }));
    }
    const target = this.#target(selection, table);
    const rows = await this.#on.rows(target.top, target.bottom);
    /** @type {CellEdit[]} */
    const edits = [];
    /** @type {Record<string, Value>[]} */
    const created = [];
    const problems = { count: 0, message: "" };
    for (let line = target.top; line <= target.bottom; line++) {
      const cells = table[(line - target.top) % table.length];
      const row = rows[line - target.top];
      const parsed = this.#parse(cells, target.fields, problems);
      if (row) edits.push(...this.#editsOf(row, parsed));
      else if (line >= this.#on.lines()) created.push(parsed);
    }
    // A refusal is shown in the cells.
    const written = this.#on.write(created, edits).catch(() => {});
    if (created.length) await written;
    this.#grid?.select(target.top, target.bottom, target.first, target.last);
    const added = created.reduce((count, values) => count + Object.keys(values).length, 0);
    this.#sayPasted(edits.length + added, problems);
  }

  get #grid() {
    return this.#on.grid();
  }

  /** One value, or one line, fills the whole selection.
   * @param {{top: number, bottom: number, fields: Field[]}} selection @param {string[][]} table */
  #target({ top, bottom, fields }, table) {
    const all = this.#on.fields();
    const first = all.findIndex(({ key }) => key === fields[0]?.key);
    const width = Math.max(...table.map((cells) => cells.length));
    const repeats = (bottom - top + 1) % table.length === 0;
    const rows = repeats ? bottom - top + 1 : table.length;
    const columns = width === 1 ? Math.max(fields.length, 1) : width;
    const chosen = all.slice(first, first + columns);
    const last = first + chosen.length - 1;
    return { top, bottom: top + rows - 1, fields: chosen, first, last };
  }

  /** @param {string[]} cells @param {Field[]} fields @param {{count: number, message: string}} problems */
  #parse(cells, fields, problems) {
    /** @type {Record<string, Value>} */
    const values = {};
    for (const [place, field] of fields.entries()) {
      const text = cells.length === 1 ? cells[0] : cells[place];
      if (text === undefined) continue;
      const parsed = parseText(field, text);
      if ("value" in parsed) values[field.key] = parsed.value;
      else {
        problems.count++;
        problems.message ||= `${field.name}: ${parsed.error}`;
      }
    }
    return values;
  }

  /** @param {Row} row @param {Record<string, Value>} values @returns {CellEdit[]} */
  #editsOf(row, values) {
    return this.#on.fields().filter(({ key }) => key in values).map((field) => ({
      rowId: row.id,
      key: field.key,
      was: this.#on.valueOf(row, field) ?? null,
      value: values[field.key],
    }));
  }

  /** @param {number} count @param {{count: number, message: string}} problems */
  #sayPasted(count, { count: left, message }) {
    if (left === 0) this.#on.say(t("tables.pasted", { count }));
    else this.#on.say(t("tables.not_fitting", { count: left, message }));
  }

  /** @param {CellEdit[]} edits a refusal is shown in the cells */
  #apply(edits) {
    this.#on.edits().change(edits).catch(() => {});
  }

  // --- Clearing, filling, deleting ----------------------------------------------------------------
  async clear() {
    await this.#write(() => null);
  }

  /** The first line of the selection fills those below it. */
  async fillDown() {
    const selection = this.#selection;
    const first = selection && this.#on.rowAt(selection.top);
    if (!first) return;
    await this.#write((_, field) => this.#on.valueOf(first, field) ?? null);
  }

  /** @param {(row: Row, field: Field) => Value} value */
  async #write(value) {
    const selection = this.#selection;
    if (!selection || !this.#on.mayEdit) return;
    const { top, bottom, fields } = selection;
    const edits = [];
    for (const row of await this.#on.rows(top, bottom)) {
      if (!row) continue;
      for (const field of fields) {
        const was = this.#on.valueOf(row, field) ?? null;
        edits.push({ rowId: row.id, key: field.key, was, value: value(row, field) });
      }
    }
    this.#apply(edits);
  }

  /** @param {-1|1} step @returns {Row|null} that before the selection, or that after it */
  neighbour(step) {
    const selection = this.#selection;
    if (!selection || (step < 0 && selection.top === 0)) return null;
    return this.#on.rowAt(step < 0 ? selection.top - 1 : selection.bottom + 1);
  }

  /** @returns {Promise<number[]>} ids of the rows that are selected */
  async selectedRows() {
    const selection = this.#selection;
    if (!selection) return [];
    const rows = await this.#on.rows(selection.top, selection.bottom);
    return rows.filter((row) => row !== null).map(({ id }) => id);
  }
}
