/** Which line of the grid is which row of the view: with groups there are headings between them. */

/**
 * @import { Value } from "./types.d.ts"
 *
 * @typedef {object} GroupData
 * @property {Value[]} values of the fields that are grouped by
 * @property {number} count
 * @property {Record<string, Value>} aggregates
 *
 * @typedef {object} Heading
 * @property {true} isHeading
 * @property {string} key
 * @property {number} level
 * @property {Value} value
 * @property {number} count
 * @property {Record<string, Value>} aggregates of the innermost level
 * @property {boolean} isClosed
 *
 * @typedef {{start: number, size: number, heading: Heading|null, from: number}} Segment
 */

export class Layout {
  /** @type {Segment[]|null} null: no groups */
  #segments = null;
  #size = 0;
  /** @type {GroupData[]} */
  #groups = [];
  /** @type {Set<string>} */
  #closed = new Set();

  /** @param {GroupData[]} groups in the order of the rows; none: no headings */
  setGroups(groups) {
    this.#groups = groups;
    this.#build();
  }

  /** @param {string} key of a heading */
  toggle(key) {
    if (!this.#closed.delete(key)) this.#closed.add(key);
    this.#build();
  }

  #build() {
    this.#segments = this.#groups.length ? [] : null;
    this.#size = 0;
    let from = 0;
    for (const [place, group] of this.#groups.entries()) {
      const isHidden = this.#headings(group, this.#groups[place - 1]);
      if (!isHidden) this.#add(null, group.count, from);
      from += group.count;
    }
  }

  /** @param {GroupData} group @param {GroupData|undefined} before @returns {boolean} closed */
  #headings(group, before) {
    let key = "";
    for (const [level, value] of group.values.entries()) {
      key += `/${JSON.stringify(value)}`;
      const isInner = level === group.values.length - 1;
      const isNew = isInner || !before || keyOf(before, level) !== key;
      const isClosed = this.#closed.has(key);
      const count = isInner ? group.count : this.#countOf(key, level);
      const aggregates = isInner ? group.aggregates : {};
      if (isNew) {
        this.#add({ isHeading: true, key, level, value, count, aggregates, isClosed }, 1, 0);
      }
      if (isClosed) return true;
    }
    return false;
  }

  /** @param {string} key @param {number} level */
  #countOf(key, level) {
    return this.#groups.filter((group) => keyOf(group, level) === key)
      .reduce((sum, { count }) => sum + count, 0);
  }

  /** @param {Heading|null} heading @param {number} size @param {number} from */
  #add(heading, size, from) {
    this.#segments?.push({ start: this.#size, size, heading, from });
    this.#size += size;
  }

  /** @param {number} rows of the view @returns {number} lines */
  lines(rows) {
    if (!this.#segments) return rows;
    // Rows that were added since follow at the end.
    return this.#size + Math.max(0, rows - this.#rows);
  }

  get #rows() {
    return this.#groups.reduce((sum, { count }) => sum + count, 0);
  }

  /** @param {number} line @returns {Heading|number} the index of a row */
  at(line) {
    if (!this.#segments) return line;
    if (line >= this.#size) return this.#rows + line - this.#size;
    const { start, heading, from } = this.#segments[this.#find(line)];
    return heading ?? from + line - start;
  }

  /** @param {number} index of a row @returns {number} -1: its group is closed */
  lineOf(index) {
    if (!this.#segments) return index;
    if (index >= this.#rows) return this.#size + index - this.#rows;
    const segment = this.#segments.find(({ heading, from, size }) =>
      !heading && index >= from && index < from + size
    );
    return segment ? segment.start + index - segment.from : -1;
  }

  /** @param {number} line */
  #find(line) {
    const segments = this.#segments ?? [];
    let low = 0;
    let high = segments.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (segments[middle].start <= line) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** @param {GroupData} group @param {number} level */
function keyOf({ values }, level) {
  return values.slice(0, level + 1).map((value) => `/${JSON.stringify(value)}`).join("");
}
