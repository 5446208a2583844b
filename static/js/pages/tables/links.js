/** What linked rows are called: the first field of their table, read as they come into sight. */

import { shownText } from "./values.js";

/**
 * @import { TablesApi } from "./api.js"
 * @import { Field, TableData } from "./types.d.ts"
 */

const MAX_IDS = 500;
const WAIT_MS = 60;
/** Kinds whose values are searched by a part of them. */
const TEXTS = ["text", "long_text", "url", "email"];

/** Events: `known` (more of them are called something now). */
export class Links extends EventTarget {
  #api;
  /** @type {Map<number, Promise<TableData>>} */
  #tables = new Map();
  /** @type {Map<number, Map<number, string>>} labels by table and row */
  #labels = new Map();
  /** @type {Map<number, Set<number>>} */
  #wanted = new Map();
  #timer = 0;

  /** @param {TablesApi} api */
  constructor(api) {
    super();
    this.#api = api;
  }

  /** Gives link fields the labels of their rows. @param {Field[]} fields */
  attach(fields) {
    for (const field of fields) {
      if (field.kind === "link") field.labels = this.#labelsOf(field.options.table ?? 0);
    }
  }

  /** @param {number} table */
  #labelsOf(table) {
    const labels = this.#labels.get(table) ?? new Map();
    this.#labels.set(table, labels);
    return labels;
  }

  /** @param {Field} field @param {number[]} ids that are in sight */
  want(field, ids) {
    const table = field.options.table ?? 0;
    const unknown = ids.filter((id) => !field.labels?.has(id));
    if (unknown.length === 0) return;
    const wanted = this.#wanted.get(table) ?? new Set();
    this.#wanted.set(table, wanted);
    for (const id of unknown) wanted.add(id);
    this.#timer ||= setTimeout(() => this.#read(), WAIT_MS);
  }

  async #read() {
    const wanted = this.#wanted;
    this.#wanted = new Map();
    this.#timer = 0;
    for (const [table, ids] of wanted) {
      const filter = { and: [{ field: "id", op: "in", value: [...ids].slice(0, MAX_IDS) }] };
      // Without access to that table its rows are numbers.
      await this.#query(table, { filter, limit: MAX_IDS }).catch(() => []);
      for (const id of ids) {
        if (!this.#labelsOf(table).has(id)) this.#labelsOf(table).set(id, `#${id}`);
      }
    }
    this.dispatchEvent(new Event("known"));
  }

  /** @param {Field} field @param {string} text @param {number} limit @returns {Promise<number[]>} ids */
  async find(field, text, limit) {
    const table = field.options.table ?? 0;
    const first = await this.#firstField(table);
    const isSearched = text.trim() !== "" && first && TEXTS.includes(first.kind);
    const condition = { field: first?.key, op: "contains", value: text.trim() };
    return this.#query(table, isSearched ? { filter: { and: [condition] }, limit } : { limit });
  }

  /** @param {number} table @param {object} query */
  async #query(table, query) {
    const first = await this.#firstField(table);
    const { items } = await this.#api.query(table, query);
    const labels = this.#labelsOf(table);
    for (const row of items) {
      labels.set(row.id, (first && shownText(first, row.values[first.key])) || `#${row.id}`);
    }
    return items.map(({ id }) => id);
  }

  /** @param {number} table @returns {Promise<Field|undefined>} */
  async #firstField(table) {
    const known = this.#tables.get(table) ?? this.#api.get(table);
    this.#tables.set(table, known);
    return (await known).fields[0];
  }
}
