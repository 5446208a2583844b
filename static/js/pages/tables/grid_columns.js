/** Columns and lines in the form that SlickGrid takes. */

import { cellNode } from "./cells.js";
import { editorFor, IN_SHEET } from "./editors.js";
import { groupToggle } from "./grid_nodes.js";

/**
 * @import { SlickColumn } from "../../../../tests/js/types/slickgrid.d.ts"
 * @import { Source } from "./grid_types.d.ts"
 * @import { Heading } from "./layout.js"
 * @import { Field } from "./types.d.ts"
 */

/** Id of the column with the numbers of rows. */
export const NUMBER = "#";
const DEFAULT_WIDTH = { number: 56, field: 170 };
/** What a row is that was deleted since the view was opened. */
const GONE = { isGone: true };

/** @param {Source} source @returns {SlickColumn} */
export function numberColumn(source) {
  return {
    id: NUMBER,
    field: NUMBER,
    name: NUMBER,
    width: DEFAULT_WIDTH.number,
    cssClass: "row-number",
    focusable: false,
    resizable: false,
    formatter: (line, _cell, _value, _column, item) =>
      item.isHeading ? "" : String(source.numberOf(line) + 1),
  };
}

/** @param {Field} field @param {number|undefined} width @param {Source} source
 * @returns {SlickColumn} */
export function fieldColumn(field, width, source) {
  const hasEditor = !IN_SHEET.includes(field.kind);
  return {
    id: field.key,
    field: field.key,
    name: field.name,
    fieldOf: field,
    width: width ?? DEFAULT_WIDTH.field,
    minWidth: 60,
    cssClass: `kind-${field.kind}`,
    formatter: (_line, _cell, _value, _column, row) => {
      if (row.isGone || row.isHeading) return "";
      const { value, edit, ai } = source.cell(row, field);
      return cellNode(field, value, edit, ai);
    },
    editor: hasEditor ? editorFor(field, (row) => source.cell(row, field).value) : undefined,
  };
}

/** @param {SlickColumn[]} columns @returns {Record<string, number>} by the key of the field */
export function widthsOf(columns) {
  const fields = columns.filter(({ id }) => id !== NUMBER);
  return Object.fromEntries(
    fields.map(({ id, width }) => [id, Math.round(width ?? DEFAULT_WIDTH.field)]),
  );
}

/**
 * @param {Source} source
 * @param {object} headings
 * @param {() => number} headings.column at which they begin: the first one that scrolls
 * @param {(heading: Heading) => void} headings.onToggle
 */
export function linesOf(source, { column, onToggle }) {
  const metadata = (/** @type {number} */ line) => {
    const item = source.at(line);
    if (item === null) return { cssClasses: "gone", focusable: false };
    if (!item || !("isHeading" in item)) return null;
    const formatter = () => groupToggle(item, source.headingText(item), () => onToggle(item));
    return {
      cssClasses: `group-row level-${item.level}`,
      focusable: false,
      selectable: false,
      columns: { [column()]: { colspan: "*", formatter } },
    };
  };
  return {
    getLength: () => source.lines(),
    getItem: (/** @type {number} */ line) => {
      const item = source.at(line);
      return item === null ? GONE : item;
    },
    getItemMetadata: metadata,
  };
}
