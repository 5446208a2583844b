/** How many rows have entered or left the open view since its snapshot was taken. */

/**
 * @import { TablesApi } from "./api.js"
 * @import { RowSource } from "./rows.js"
 */

/** Changes that come together are counted by one request. */
const WAIT_MS = 1_000;

export class ChangeCount {
  #api;
  #rows;
  #onCount;
  #timer = 0;
  #reads = 0;

  /** @param {TablesApi} api @param {RowSource} rows @param {(count: number) => void} onCount */
  constructor(api, rows, onCount) {
    this.#api = api;
    this.#rows = rows;
    this.#onCount = onCount;
  }

  refreshSoon() {
    this.#timer ||= setTimeout(() => this.#refresh(), WAIT_MS);
  }

  async #refresh() {
    this.#timer = 0;
    const read = ++this.#reads;
    const { snapshotId } = this.#rows;
    const found = await this.#api.snapshotChanges(snapshotId).catch(() => null);
    if (!found || read !== this.#reads || snapshotId !== this.#rows.snapshotId) return;
    // Rows that were made here are shown already.
    this.#onCount(Math.max(0, found.entered - this.#rows.addedCount) + found.left);
  }

  dispose() {
    clearTimeout(this.#timer);
  }
}
