/** A list of the server's, read page by page and kept in order while its items change. */

/** As many as the server gives at once. */
const MAX_PAGE = 100;

/**
 * @template Item
 * @typedef {object} Source
 * @property {(limit: number, offset: number) => Promise<{items: Item[], count: number}>} read
 * @property {(item: Item) => string} keyOf
 * @property {(a: Item, b: Item) => number} compare the server's order
 * @property {number} [pageSize]
 */

/**
 * Each page is read once. What is known of single items (from events, from what this page did
 * itself) is put in with `upsert` and `remove`.
 *
 * Events: `change`.
 *
 * @template Item
 */
export class PagedCollection extends EventTarget {
  /** @type {Item[]} in the server's order, without gaps */
  items = [];
  hasMore = false;
  /** @type {Map<string, Item>} */
  #byKey = new Map();
  /** @type {Source<Item>} */
  #source;
  #pageSize;
  /** @type {Promise<void>|null} */
  #loading = null;

  /** @param {Source<Item>} source */
  constructor(source) {
    super();
    this.#source = source;
    this.#pageSize = source.pageSize ?? MAX_PAGE;
  }

  /** @param {string} key @returns {Item|undefined} */
  get(key) {
    return this.#byKey.get(key);
  }

  /** Read the first page, again if need be: what is no longer in it was removed elsewhere. */
  async loadFirst() {
    const { items, count } = await this.#source.read(this.#pageSize, 0);
    const keys = new Set(items.map(this.#source.keyOf));
    const last = items.at(-1);
    const isWhole = items.length >= count;
    for (const item of this.items) {
      const belongs = isWhole || (last && this.#source.compare(item, last) <= 0);
      const key = this.#source.keyOf(item);
      if (belongs && !keys.has(key)) this.#byKey.delete(key);
    }
    // None of the page is known: what lies between it and the older items is not, either.
    if (!isWhole && this.items.length && !items.some((item) => this.#isKnown(item))) {
      this.#byKey.clear();
    }
    this.#merge(items);
    this.hasMore = this.items.length < count;
    this.#changed();
  }

  /** Read the next page; while one is being read, that one. */
  loadMore() {
    this.#loading ??= this.#readNext().finally(() => (this.#loading = null));
    return this.#loading;
  }

  /**
   * Pages count from the first item, and items may have come or gone meanwhile. So the next page
   * begins with the last known item; where it does not, the one before it is read as well.
   */
  async #readNext() {
    const known = this.items.length;
    let offset = Math.max(0, known - 1);
    for (;;) {
      const { items, count } = await this.#source.read(this.#pageSize, offset);
      const isAdjoining = offset === 0 || (items.length > 0 && this.#isKnown(items[0]));
      if (isAdjoining) {
        this.#merge(items);
        offset += items.length;
        this.hasMore = items.length > 0 && offset < count;
        if (this.items.length > known || !this.hasMore) break;
      } else {
        offset = Math.max(0, offset - this.#pageSize + 1);
      }
    }
    this.#changed();
  }

  /** @param {Item} item new, or in place of the one with its key */
  upsert(item) {
    this.#merge([item]);
    this.#changed();
  }

  /** @param {string} key */
  remove(key) {
    if (!this.#byKey.delete(key)) return;
    this.#merge([]);
    this.#changed();
  }

  /** @param {Item} item */
  #isKnown(item) {
    return this.#byKey.has(this.#source.keyOf(item));
  }

  /** @param {Item[]} items */
  #merge(items) {
    for (const item of items) this.#byKey.set(this.#source.keyOf(item), item);
    this.items = [...this.#byKey.values()].sort(this.#source.compare);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * @template {object} Item
 * @param {keyof Item} field of strings: ids and points in time sort as text
 * @returns {(a: Item, b: Item) => number} newest first
 */
export function newestBy(field) {
  return (a, b) => (a[field] < b[field] ? 1 : a[field] > b[field] ? -1 : 0);
}
