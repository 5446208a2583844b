/** Edits on their way to the server: shown at once, sent in order, kept while there is no
 * connection. */

import { ApiError, isPassing } from "../../client/api.js";
import { randomKey } from "../../client/tasks.js";
import { isSame } from "./values.js";

/**
 * @import { TablesApi } from "./api.js"
 * @import { Row, Value } from "./types.d.ts"
 *
 * @typedef {object} Edit
 * @property {number} rowId
 * @property {string} key of the field
 * @property {Value} was
 * @property {Value} value
 * @property {"waiting"|"sent"|"conflict"|"refused"} state
 * @property {Value} [current] of a conflict: what the cell has become elsewhere
 * @property {string} [message] why the server refuses it
 * @property {Record<string, string|number>} [params] of the message
 * @property {string} [code] of the error, where the whole request is refused
 *
 * @typedef {object} Operation one of a batch
 * @property {"update"|"create"|"delete"} kind
 * @property {number} [rowId]
 * @property {Edit[]} [edits]
 * @property {Record<string, Value>} [values]
 *
 * @typedef {object} Gesture what a person did at once: one step of undo
 * @property {number} steps changes that the server has made of it
 * @property {Set<number>} revs of the table by these changes, and by what has undone them
 *
 * @typedef {object} Batch
 * @property {Gesture} gesture
 * @property {string} key makes sending it again harmless
 * @property {Operation[]} operations
 * @property {Promise<Outcome[]>} done
 * @property {(results: Outcome[]) => void} resolve
 * @property {(error: any) => void} reject
 *
 * @typedef {object} Outcome
 * @property {Row} [row]
 * @property {Record<string, Value>} [conflicts] current values, by the key of the field
 * @property {string} [field] of a refused value
 * @property {string} [message]
 */

/** Operations of one request, and characters: of at most three bytes each, it takes a mebibyte. */
export const MAX_BATCH = 1_000;
const MAX_BATCH_CHARS = 300_000;
/** Steps that the server keeps of a tab. */
const MAX_GESTURES = 100;
const RETRY_MS = { first: 1_000, max: 15_000 };

/**
 * Events: `change` (detail: ids of rows whose cells look other than before), `stored` (detail: the
 * rows as the server has them), `state` (after each change of `waiting` or `isOffline`), `failed`
 * (detail: an error of a whole batch).
 */
export class Edits extends EventTarget {
  /** No batch gets through. */
  isOffline = false;
  #api;
  #tableId;
  /** @type {Map<string, Edit>} by row and field */
  #edits = new Map();
  /** @type {Batch[]} */
  #batches = [];
  #isSending = false;
  #failures = 0;
  #timer = 0;
  #isLeft = false;
  #ended = new AbortController();

  /** @param {TablesApi} api @param {number} tableId */
  constructor(api, tableId) {
    super();
    this.#api = api;
    this.#tableId = tableId;
    addEventListener("beforeunload", (event) => {
      if (this.#batches.length > 0) event.preventDefault();
    }, { signal: this.#ended.signal });
  }

  /** Cells whose new value is not stored yet. */
  get waiting() {
    let count = 0;
    for (const { state } of this.#edits.values()) {
      if (state === "waiting" || state === "sent") count++;
    }
    return count;
  }

  /** @param {number} rowId @param {string} key @returns {Edit|undefined} */
  of(rowId, key) {
    return this.#edits.get(`${rowId} ${key}`);
  }

  /** @returns {Edit[]} that the server did not take */
  get problems() {
    return [...this.#edits.values()].filter(({ state }) => isProblem(state));
  }

  /**
   * Change cells and make rows by one gesture: one request for up to a thousand rows.
   *
   * @param {{rowId: number, key: string, was: Value, value: Value}[]} cells
   * @param {Record<string, Value>[]} [made] values of new rows, by the key of the field
   * @returns {Promise<Outcome[]>} those of the new rows at the end
   */
  change(cells, made = []) {
    /** @type {Map<number, Edit[]>} */
    const byRow = new Map();
    for (const { rowId, key, was, value } of cells) {
      if (isSame(was, value)) continue;
      /** @type {Edit} */
      const edit = { rowId, key, was, value, state: "waiting" };
      this.#edits.set(`${rowId} ${key}`, edit);
      byRow.set(rowId, [...(byRow.get(rowId) ?? []), edit]);
    }
    this.#announce([...byRow.keys()]);
    /** @type {Operation[]} */
    const updates = [...byRow].map(([rowId, edits]) => ({ kind: "update", rowId, edits }));
    /** @type {Operation[]} */
    const creates = made.map((values) => ({ kind: "create", values }));
    return this.#enqueue([...updates, ...creates]);
  }

  /** @param {number[]} rowIds */
  delete(rowIds) {
    return this.#enqueue(rowIds.map((rowId) => ({ kind: "delete", rowId })));
  }

  /** Forget a refused edit. @param {Edit} edit */
  discard(edit) {
    if (this.of(edit.rowId, edit.key) === edit) this.#edits.delete(`${edit.rowId} ${edit.key}`);
    this.#announce([edit.rowId]);
  }

  /** Write it over what the cell has become. @param {Edit} edit */
  overwrite({ rowId, key, current, value }) {
    return this.change([{ rowId, key, was: current, value }]);
  }

  /** Resolves once all that was done so far is stored, or refused. @throws {ApiError} */
  async settled() {
    if (this.isOffline) throw new ApiError({ code: "network" });
    await Promise.allSettled(this.#batches.map(({ done }) => done));
  }

  /** The connection is back. */
  retryNow() {
    if (!this.#timer) return;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#send();
  }

  /** The page of the table is left: what is on its way is sent all the same. */
  dispose() {
    this.#isLeft = true;
    if (this.#batches.length === 0) this.#ended.abort();
  }

  /** @param {Operation[]} operations @returns {Promise<Outcome[]>} */
  async #enqueue(operations) {
    const gesture = { steps: 0, revs: new Set() };
    const promises = inBatches(operations).map((batch) => this.#add(batch, gesture));
    this.#send();
    return (await Promise.all(promises)).flat();
  }

  /** @param {Operation[]} operations @param {Gesture} gesture @returns {Promise<Outcome[]>} */
  #add(operations, gesture) {
    const { promise, resolve, reject } = Promise.withResolvers();
    this.#batches.push({ gesture, key: randomKey(), operations, done: promise, resolve, reject });
    return promise;
  }

  async #send() {
    if (this.#isSending || this.#timer) return;
    this.#isSending = true;
    this.dispatchEvent(new Event("state"));
    while (this.#batches.length > 0 && !this.#timer) await this.#sendFirst();
    this.#isSending = false;
    this.dispatchEvent(new Event("state"));
    if (this.#isLeft && this.#batches.length === 0) this.#ended.abort();
  }

  async #sendFirst() {
    const [batch] = this.#batches;
    for (const { edits = [] } of batch.operations) for (const edit of edits) edit.state = "sent";
    try {
      const answer = await this.#api.batch(this.#tableId, batch.operations, batch.key);
      const { outcomes, rev } = answer;
      this.#batches.shift();
      this.#count(batch.gesture, rev);
      this.#setOffline(false);
      this.#settle(batch, outcomes);
      batch.resolve(outcomes);
    } catch (error) {
      if (isPassing(error)) return this.#waitAndRetry();
      this.#batches.shift();
      this.#refuse(batch, error);
      batch.reject(error);
    }
  }

  // --- Gestures that became several changes -------------------------------------------------------
  /** @type {Gesture[]} */
  #gestures = [];

  /** @param {Gesture} gesture @param {number|null} rev null: nothing has changed */
  #count(gesture, rev) {
    if (rev === null) return;
    gesture.steps++;
    gesture.revs.add(rev);
    // One change is one step of the server's anyway.
    if (gesture.steps === 2) this.#gestures = [...this.#gestures, gesture].slice(-MAX_GESTURES);
  }

  /** @param {number|null} rev of a change @returns {Gesture|undefined} */
  gestureOf(rev) {
    return this.#gestures.find(({ revs }) => rev !== null && revs.has(rev));
  }

  // --- Trouble ------------------------------------------------------------------------------------
  #waitAndRetry() {
    this.#setOffline(true);
    const wait = Math.min(RETRY_MS.first * 2 ** this.#failures++, RETRY_MS.max);
    this.#timer = setTimeout(() => this.retryNow(), wait);
  }

  /** @param {boolean} isOffline */
  #setOffline(isOffline) {
    if (!isOffline) this.#failures = 0;
    this.isOffline = isOffline;
  }

  /** @param {Batch} batch @param {Outcome[]} outcomes */
  #settle({ operations }, outcomes) {
    const rows = [];
    const rowIds = [];
    for (const [place, { edits = [], rowId }] of operations.entries()) {
      const { row, conflicts = {}, field, message } = outcomes[place] ?? {};
      for (const edit of edits) this.#end(edit, conflicts, field, message);
      if (row) rows.push(row);
      if (rowId) rowIds.push(rowId);
    }
    this.dispatchEvent(new CustomEvent("stored", { detail: rows }));
    this.#announce(rowIds);
  }

  /**
   * @param {Edit} edit @param {Record<string, Value>} conflicts @param {string|undefined} field
   * @param {string|undefined} message
   */
  #end(edit, conflicts, field, message) {
    if (edit.key in conflicts) {
      edit.state = "conflict";
      edit.current = conflicts[edit.key];
    } else if (message && (!field || field === edit.key)) {
      edit.state = "refused";
      edit.message = message;
    } else if (this.of(edit.rowId, edit.key) === edit) {
      this.#edits.delete(`${edit.rowId} ${edit.key}`);
    }
  }

  /** @param {Batch} batch @param {any} error */
  #refuse({ operations }, error) {
    const rowIds = [];
    for (const { edits = [], rowId } of operations) {
      for (const edit of edits) {
        edit.state = "refused";
        edit.message = error.message;
        edit.params = error.params;
        edit.code = error.code;
      }
      if (rowId) rowIds.push(rowId);
    }
    this.#announce(rowIds);
    this.dispatchEvent(new CustomEvent("failed", { detail: error }));
  }

  /** @param {number[]} rowIds */
  #announce(rowIds) {
    this.dispatchEvent(new CustomEvent("change", { detail: rowIds }));
    this.dispatchEvent(new Event("state"));
  }
}

/** @param {Operation[]} operations @returns {Operation[][]} as requests take them */
function inBatches(operations) {
  /** @type {Operation[][]} */
  const batches = [];
  let chars = 0;
  for (const operation of operations) {
    const size = JSON.stringify(operation).length;
    const batch = batches.at(-1);
    if (batch && batch.length < MAX_BATCH && chars + size <= MAX_BATCH_CHARS) {
      batch.push(operation);
      chars += size;
    } else {
      batches.push([operation]);
      chars = size;
    }
  }
  return batches;
}

/** @param {Edit["state"]} state */
function isProblem(state) {
  return state === "conflict" || state === "refused";
}
