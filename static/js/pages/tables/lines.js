/** The lines of the open view: which row or heading each of them is, and what its cells hold. */

import { Layout } from "./layout.js";

/**
 * @import { Edit, Edits } from "./edits.js"
 * @import { Heading } from "./layout.js"
 * @import { Links } from "./links.js"
 * @import { RowSource } from "./rows.js"
 * @import { AiCell, Field, Row, Value } from "./types.d.ts"
 */

/** Lines of which no page has said yet whether it shows them. */
const FIRST_LINES = { top: 0, bottom: 50 };

export class Lines {
  layout = new Layout();
  #rows;
  #edits;
  #links;
  #visible = FIRST_LINES;

  /** @param {RowSource} rows @param {Edits} edits @param {Links} links */
  constructor(rows, edits, links) {
    this.#rows = rows;
    this.#edits = edits;
    this.#links = links;
  }

  /** Rows and headings. */
  get count() {
    return this.layout.lines(this.#rows.length);
  }

  get rowCount() {
    return this.#rows.length;
  }

  /** @param {number} line @returns {Row|Heading|null|undefined} undefined: not there yet; null: deleted */
  at(line) {
    const place = this.layout.at(line);
    return typeof place === "number" ? this.#rows.at(place) : place;
  }

  /** @param {number} line @returns {Row|null} null: none, a heading, or not there yet */
  rowAt(line) {
    const place = this.layout.at(line);
    return typeof place === "number" && line < this.count ? this.#rows.peek(place) ?? null : null;
  }

  /** @param {number} line @returns {number} of the row in the view */
  numberOf(line) {
    const place = this.layout.at(line);
    return typeof place === "number" ? place : -1;
  }

  /** @param {number} top @param {number} bottom lines @returns {Promise<(Row|null)[]>} read if need be */
  async rowsOf(top, bottom) {
    const places = [];
    for (let line = top; line <= bottom && line < this.count; line++) {
      places.push(this.layout.at(line));
    }
    const indexes = places.filter((place) => typeof place === "number");
    if (indexes.length === 0) return [];
    const from = Math.min(...indexes);
    const rows = await this.#rows.range(from, Math.max(...indexes));
    return places.map((place) => typeof place === "number" ? rows[place - from] : null);
  }

  /** Rows in order, for cards. @param {number} index @returns {Row|null|undefined} */
  rowOf(index) {
    return this.#rows.at(index);
  }

  // --- Cells --------------------------------------------------------------------------------------
  /** @param {Row} row @param {Field} field @returns {{value: Value, edit?: Edit, ai?: AiCell}} */
  cell(row, field) {
    const edit = this.#edits.of(row.id, field.key);
    const value = edit ? edit.value : row.values[field.key];
    if (field.kind === "link" && value) this.#links.want(field, value);
    return { value, edit, ai: row.ai?.[field.key] };
  }

  /** @param {Row} row @param {Field} field @returns {Value} */
  valueOf(row, field) {
    return this.cell(row, field).value ?? null;
  }

  // --- In sight -----------------------------------------------------------------------------------
  /** What the page shows now. @param {{top: number, bottom: number}} visible lines */
  setVisible(visible) {
    this.#visible = visible;
  }

  /** @returns {number[]} of rows */
  get visibleIndexes() {
    const indexes = [];
    for (let line = this.#visible.top; line <= this.#visible.bottom; line++) {
      const place = this.layout.at(line);
      if (typeof place === "number") indexes.push(place);
    }
    return indexes;
  }

  /** @returns {{top: number, bottom: number}} indexes of rows */
  get visibleRange() {
    const indexes = this.visibleIndexes;
    return { top: indexes[0] ?? 0, bottom: indexes.at(-1) ?? 0 };
  }

  /** @param {number[]} indexes of rows @returns {number[]} lines, without those of closed groups */
  linesOf(indexes) {
    return indexes.map((index) => this.layout.lineOf(index)).filter((line) => line >= 0);
  }
}
