/** The rows of an open view: read page by page as they are scrolled to, at any place. */

/**
 * @import { TablesApi } from "./api.js"
 * @import { Row } from "./types.d.ts"
 * @import { GroupData } from "./layout.js"
 * @typedef {{id: string, count: number, rev: number, groups: GroupData[]}} Snapshot
 */

/** Rows of a page; the server gives up to 500. */
const PAGE = 100;
/** Pages that are kept. */
const MAX_PAGES = 60;
/** Pages that are read at once. */
const MAX_READS = 4;
/** A scrolling hand passes by pages that it does not want. */
const SETTLE_MS = 40;

/**
 * A snapshot keeps the order and the number of rows, so that nothing moves under the hand; `reopen`
 * makes a new one.
 *
 * Events: `opened` (there is a new snapshot), `rows` (detail: indexes that are known now, or anew),
 * `length` (rows were added), `failed` (detail: the error).
 */
export class RowSource extends EventTarget {
  #api;
  /** @type {Snapshot|null} */
  #snapshot = null;
  /** @type {Map<number, (Row|null)[]>} by number of page, the last used at the end */
  #pages = new Map();
  /** @type {Set<number>} */
  #loading = new Set();
  /** @type {Set<number>} */
  #wanted = new Set();
  #timer = 0;
  /** @type {Map<number, number>} index by row id, of rows that are known */
  #indexes = new Map();
  /** Rows that were made here since the snapshot. @type {Row[]} */
  #added = [];
  /** @type {() => Promise<Snapshot>} */
  #open;
  #generation = 0;
  /** @type {Promise<void>|null} the last one */
  #reopening = null;
  #wantedSnapshots = 0;
  #isDisposed = false;

  /** @param {TablesApi} api @param {() => Promise<Snapshot>} open */
  constructor(api, open) {
    super();
    this.#api = api;
    this.#open = open;
  }

  get length() {
    return (this.#snapshot?.count ?? 0) + this.#added.length;
  }

  /** Revision of the table at the time of the snapshot. */
  get rev() {
    return this.#snapshot?.rev ?? 0;
  }

  get snapshotId() {
    return this.#snapshot?.id ?? "";
  }

  /** Take a new snapshot; the rows shown stay until the new ones are there. */
  reopen() {
    // What is asked for while one is being taken may be of another filter.
    const before = this.#reopening?.catch(() => {}) ?? Promise.resolve();
    this.#wantedSnapshots++;
    const wanted = this.#wantedSnapshots;
    const reopening = before.then(() => {
      if (wanted === this.#wantedSnapshots) return this.#takeSnapshot();
    });
    this.#reopening = reopening;
    return reopening;
  }

  async #takeSnapshot() {
    const snapshot = await this.#open();
    if (this.#isDisposed) return;
    this.#snapshot = snapshot;
    this.#generation++;
    this.#pages.clear();
    this.#loading.clear();
    this.#indexes.clear();
    this.#added = [];
    this.dispatchEvent(new Event("opened"));
  }

  dispose() {
    this.#isDisposed = true;
    clearTimeout(this.#timer);
  }

  /** @param {number} index @returns {Row|null|undefined} undefined: not known yet; null: deleted */
  at(index) {
    const count = this.#snapshot?.count ?? 0;
    if (index >= count) return this.#added[index - count];
    const number = Math.floor(index / PAGE);
    const page = this.#pages.get(number);
    if (page) return page[index % PAGE] ?? null;
    this.#want(number);
    return undefined;
  }

  /** @param {number} index @returns {Row|null|undefined} without reading it */
  peek(index) {
    const count = this.#snapshot?.count ?? 0;
    if (index >= count) return this.#added[index - count];
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** @param {number} rowId @returns {number} -1 where it is not known */
  indexOf(rowId) {
    return this.#indexes.get(rowId) ?? -1;
  }

  /** @param {number} from @param {number} to @returns {Promise<(Row|null)[]>} both included */
  async range(from, to) {
    const last = Math.min(to, this.length - 1);
    const numbers = [];
    for (let number = Math.floor(from / PAGE); number <= Math.floor(last / PAGE); number++) {
      if (!this.#pages.has(number)) numbers.push(number);
    }
    for (let start = 0; start < numbers.length; start += MAX_READS) {
      await this.#load(numbers.slice(start, start + MAX_READS));
    }
    const rows = [];
    for (let index = from; index <= last; index++) rows.push(this.peek(index) ?? null);
    return rows;
  }

  /** @param {number} number of a page */
  #want(number) {
    if (this.#loading.has(number) || !this.#snapshot) return;
    // The last one asked for stands at the end, also when it was asked for before.
    this.#wanted.delete(number);
    this.#wanted.add(number);
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      // Only the pages last asked for are still looked at.
      const numbers = [...this.#wanted].slice(-MAX_READS);
      this.#wanted.clear();
      this.#load(numbers).catch((error) => this.#failed(error));
    }, SETTLE_MS);
  }

  /** @param {any} error */
  #failed(error) {
    this.dispatchEvent(new CustomEvent("failed", { detail: error }));
  }

  /** @param {number[]} numbers of pages */
  async #load(numbers) {
    await Promise.all(
      numbers.filter((number) => !this.#loading.has(number)).map((number) =>
        this.#loadPage(number)
      ),
    );
  }

  /** @param {number} number */
  async #loadPage(number) {
    const { id } = /** @type {Snapshot} */ (this.#snapshot);
    const generation = this.#generation;
    this.#loading.add(number);
    try {
      const rows = await this.#api.snapshotRows(id, number * PAGE, PAGE);
      if (generation === this.#generation) this.#keep(number, rows);
    } catch (error) {
      const { status } = /** @type {any} */ (error);
      // A snapshot lives for some minutes.
      if (status !== 404 && status !== 410) throw error;
      if (generation === this.#generation) await this.reopen();
    } finally {
      if (generation === this.#generation) this.#loading.delete(number);
    }
  }

  /** @param {number} number @param {(Row|null)[]} rows */
  #keep(number, rows) {
    if (this.#isDisposed) return;
    this.#pages.delete(number);
    this.#pages.set(number, rows);
    if (this.#pages.size > MAX_PAGES) this.#pages.delete(this.#pages.keys().next().value ?? 0);
    const start = number * PAGE;
    rows.forEach((row, place) => row && this.#indexes.set(row.id, start + place));
    this.#changed(rows.map((_, place) => start + place));
  }

  /** @param {number[]} indexes */
  #changed(indexes) {
    this.dispatchEvent(new CustomEvent("rows", { detail: indexes }));
  }

  /**
   * Rows have changed elsewhere: those in sight are read again, others when they are scrolled to.
   *
   * @param {number[]} rowIds @param {{top: number, bottom: number}} visible
   */
  async refresh(rowIds, { top, bottom }) {
    const count = this.#snapshot?.count ?? 0;
    const stale = new Set();
    let from = Infinity;
    let to = -1;
    for (const rowId of rowIds) {
      const index = this.indexOf(rowId);
      if (index < 0 || index >= count) continue;
      if (index >= top && index <= bottom) {
        from = Math.min(from, index);
        to = Math.max(to, index);
      } else {
        stale.add(Math.floor(index / PAGE));
      }
    }
    const shown = [Math.floor(top / PAGE), Math.floor(bottom / PAGE)];
    for (const number of stale) if (!shown.includes(number)) this.#pages.delete(number);
    // Those of the shown pages, as far as they are not in sight.
    for (const number of shown) {
      if (stale.has(number)) {
        from = Math.min(from, number * PAGE);
        to = Math.max(to, Math.min(number * PAGE + PAGE, count) - 1);
      }
    }
    if (to >= 0) await this.#reread(from, to);
  }

  /** All may have changed: those in sight are read again now, others as they are scrolled to.
   * @param {number} top @param {number} bottom */
  async forgetAllBut(top, bottom) {
    const shown = [Math.floor(top / PAGE), Math.floor(bottom / PAGE)];
    for (const number of this.#pages.keys()) {
      if (!shown.includes(number)) this.#pages.delete(number);
    }
    const from = shown[0] * PAGE;
    const to = Math.min((shown[1] + 1) * PAGE, this.#snapshot?.count ?? 0) - 1;
    if (to >= from) await this.#reread(from, to);
  }

  /** Rows made here since the view was opened. */
  get addedCount() {
    return this.#added.length;
  }

  /** @param {number} from @param {number} to */
  async #reread(from, to) {
    const snapshot = this.#snapshot;
    const generation = this.#generation;
    if (!snapshot) return;
    const rows = await this.#api.snapshotRows(snapshot.id, from, to - from + 1);
    if (generation !== this.#generation) return;
    rows.forEach((row, place) => this.#put(from + place, row));
    this.#changed(rows.map((_, place) => from + place));
  }

  /** @param {number} index @param {Row|null} row */
  #put(index, row) {
    const page = this.#pages.get(Math.floor(index / PAGE));
    if (page) page[index % PAGE] = row;
    if (row) this.#indexes.set(row.id, index);
  }

  /** The server's answer to an edit. @param {number} rowId @param {Partial<Row>} fresh */
  apply(rowId, { version, values = {} }) {
    const index = this.indexOf(rowId);
    const row = index < 0 ? null : this.peek(index);
    if (!row) return;
    Object.assign(row.values, values);
    row.version = version ?? row.version;
    this.#changed([index]);
  }

  /** Made here: shown at the end until the view is opened anew. @param {Row[]} rows */
  add(rows) {
    for (const row of rows) {
      this.#indexes.set(row.id, this.length);
      this.#added.push(row);
    }
    this.dispatchEvent(new Event("length"));
  }

  /** @param {number[]} rowIds */
  remove(rowIds) {
    const count = this.#snapshot?.count ?? 0;
    const indexes = rowIds.map((rowId) => this.indexOf(rowId)).filter((index) => index >= 0);
    for (const index of indexes) {
      if (index < count) this.#put(index, null);
      else delete this.#added[index - count];
    }
    this.#changed(indexes);
  }
}
