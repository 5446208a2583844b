/** The view that is open: what of it is stored, and what was changed in it. */

import { isPassing } from "../../client/api.js";
import { randomKey } from "../../client/tasks.js";

/**
 * @import { TablesApi } from "./api.js"
 * @import { Field, View, ViewState } from "./types.d.ts"
 */

/**
 * @typedef {object} NewView a new view on its way: what is sent again is the same, and makes no
 *   second one
 * @property {string} key of its request
 * @property {object} body
 *
 * @typedef {object} LeftView what was not known to be stored when the page was left
 * @property {number|null} id
 * @property {NewView|null} creation of a view without an id
 * @property {Partial<ViewState>} changes that were to follow
 *
 * @typedef {{read: () => LeftView|null, write: (left: LeftView|null) => void}} Draft
 */

/** @param {import("../../store/drafts.js").Drafts} drafts @param {string} place @returns {Draft} */
export function draftOf(drafts, place) {
  return {
    read: () => JSON.parse(drafts.read(place) || "null"),
    write: (left) => drafts.write(place, left ? JSON.stringify(left) : ""),
  };
}

/** Widths are dragged, conditions typed: what rests for so long is stored. */
const STORE_MS = 600;
/** How often a new view is sent again whose first request is being answered. */
const MAX_REPEATS = 5;
/** Changes that alter which rows there are, or their order. */
const OF_ROWS = ["filter", "sorts", "groups", "collation"];
/** @type {ViewState} */
export const EMPTY_VIEW = {
  filter: null,
  sorts: [],
  groups: [],
  aggregates: {},
  hidden: [],
  order: [],
  frozen: 0,
  widths: {},
  collation: "",
};

/**
 * Events: `rows` (other rows, or another order), `layout` (other fields or widths), `stored` (for
 * the first time), `failed` (detail: why it could not be stored).
 */
export class OpenView extends EventTarget {
  #api;
  #tableId;
  /** @type {View} */
  #view;
  /** @type {ViewState} */
  #state;
  /** @type {Partial<ViewState>} */
  #unstored = {};
  #timer = 0;
  /** One request at a time. @type {Promise<unknown>} */
  #writing = Promise.resolve();
  #isWriting = false;
  /** @type {NewView|null} */
  #creation = null;
  /** Of the request that will make a new view. */
  #key = randomKey();
  /** Changes on their way, those of each request. @type {Set<Partial<ViewState>>} */
  #sent = new Set();
  #left = new AbortController();
  #draft;

  /** @param {TablesApi} api @param {number} tableId @param {View} view @param {Draft} draft */
  constructor(api, tableId, view, draft) {
    super();
    this.#draft = draft;
    this.#api = api;
    this.#tableId = tableId;
    this.#view = view;
    this.#state = stateOf(view);
    const { signal } = this.#left;
    addEventListener("pagehide", () => this.#storeOnLeaving(), { signal });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.#storeOnLeaving();
    }, { signal });
  }

  /** Null: it is not stored yet. */
  get id() {
    return this.#view.id;
  }

  get view() {
    return this.#view;
  }

  get state() {
    return this.#state;
  }

  /** Changes of a view of somebody else's are kept here only. */
  get isKeptHere() {
    return !this.#view.is_own && Object.keys(this.#unstored).length > 0;
  }

  /** @param {Partial<ViewState>} changes */
  change(changes) {
    this.#state = { ...this.#state, ...changes };
    this.#unstored = { ...this.#unstored, ...changes };
    clearTimeout(this.#timer);
    if (this.#view.is_own) {
      this.#keepDraft();
      this.#timer = setTimeout(() => this.store(), STORE_MS);
    }
    const isOfRows = Object.keys(changes).some((name) => OF_ROWS.includes(name));
    this.dispatchEvent(new Event(isOfRows ? "rows" : "layout"));
  }

  /** @returns {Promise<void>} all that was changed so far is stored, or `failed` says why not */
  async store() {
    clearTimeout(this.#timer);
    try {
      await this.#inTurn(() => this.#writeUnstored());
    } catch (error) {
      this.dispatchEvent(new CustomEvent("failed", { detail: error }));
    }
  }

  /** The page may never run again: what is changed is sent now, not after what is on its way. */
  #storeOnLeaving() {
    const { id } = this.#view;
    if (!this.#isWriting || id === null) return void this.store();
    clearTimeout(this.#timer);
    if (this.#hasUnstored) this.#writeChanges(id).catch(console.warn);
  }

  /** With each change: a page that is left may run no code before the next one has read this. */
  #keepDraft() {
    const { id } = this.#view;
    // Of a new view that was not sent yet all is in its body.
    const isUnsent = id === null && !this.#creation;
    this.#draft.write({
      id,
      creation: isUnsent ? this.#newView({}) : this.#creation,
      changes: isUnsent ? {} : Object.assign({}, ...this.#sent, this.#unstored),
    });
  }

  /** Not while anything is on its way: the page that comes next may read the view before. */
  #dropDraft() {
    if (!this.#hasUnstored && !this.#creation && this.#sent.size === 0) this.#draft.write(null);
  }

  /** @param {Partial<View>} changes @returns {NewView} */
  #newView(changes) {
    const { name, is_shared } = this.#view;
    return { key: this.#key, body: { name, is_shared, ...this.#state, ...changes } };
  }

  /** Its name, whether others see it. @param {Partial<View>} changes */
  rename(changes) {
    return this.#inTurn(async () => {
      await this.#writeUnstored();
      if (this.#view.id === null) await this.#create(changes);
      else this.#view = await this.#api.changeView(this.#view.id, changes);
    });
  }

  /** @param {() => Promise<unknown>} write */
  #inTurn(write) {
    const writing = this.#writing.then(async () => {
      this.#isWriting = true;
      try {
        await write();
      } finally {
        this.#isWriting = false;
      }
    });
    this.#writing = writing.catch(() => {});
    return writing;
  }

  get #hasUnstored() {
    return this.#view.is_own && Object.keys(this.#unstored).length > 0;
  }

  async #writeUnstored() {
    // What is changed while a new view is on its way follows it.
    while (this.#hasUnstored || this.#creation) {
      const { id } = this.#view;
      if (id === null) await this.#create({});
      else await this.#writeChanges(id);
    }
    this.#dropDraft();
  }

  /** @param {number} id */
  async #writeChanges(id) {
    const changes = this.#unstored;
    this.#unstored = {};
    this.#sent.add(changes);
    try {
      this.#view = await this.#api.changeView(id, changes);
    } catch (error) {
      // What is refused would bar all that is changed later.
      if (isPassing(error)) this.#unstored = { ...changes, ...this.#unstored };
      throw error;
    } finally {
      this.#sent.delete(changes);
    }
    this.#dropDraft();
  }

  /** @param {Partial<View>} changes */
  async #create(changes) {
    const { body, key } = this.#creation ?? this.#beginCreation(changes);
    try {
      this.#view = await this.#api.addView(this.#tableId, body, key);
    } catch (error) {
      if (isPassing(error)) this.#unstored = { ...this.#state, ...this.#unstored };
      else {
        this.#creation = null;
        this.#key = randomKey();
      }
      throw error;
    }
    this.#creation = null;
    this.dispatchEvent(new Event("stored"));
  }

  /** @param {Partial<View>} changes @returns {NewView} */
  #beginCreation(changes) {
    this.#creation = this.#newView(changes);
    this.#unstored = {};
    return this.#creation;
  }

  /** @param {Field[]} fields of the table @returns {Field[]} those shown, in the view's order */
  fieldsShown(fields) {
    return this.fieldsInOrder(fields).filter(({ key }) => !this.#state.hidden.includes(key));
  }

  /** @param {Field[]} fields @returns {Field[]} */
  fieldsInOrder(fields) {
    const places = new Map(this.#state.order.map((key, place) => [key, place]));
    const placeOf = (/** @type {Field} */ { key }) => places.get(key) ?? places.size;
    return fields.toSorted((a, b) => placeOf(a) - placeOf(b));
  }

  /** @param {Field[]} fields @param {string} key @param {number} step where to */
  move(fields, key, step) {
    const shown = this.fieldsShown(fields).map((field) => field.key);
    const target = shown[shown.indexOf(key) + step];
    if (target) this.moveBeside(fields, key, target, step > 0);
  }

  /** @param {Field[]} fields @param {string} key @param {string} target another field
   * @param {boolean} isAfter it, or before it */
  moveBeside(fields, key, target, isAfter) {
    const order = this.fieldsInOrder(fields).map((field) => field.key);
    const others = order.filter((name) => name !== key);
    const place = others.indexOf(target) + (isAfter ? 1 : 0);
    const moved = others.toSpliced(place, 0, key);
    if (moved.join() !== order.join()) this.change({ order: moved });
  }

  /** @returns {Promise<void>} */
  dispose() {
    this.#left.abort();
    return this.store();
  }
}

/**
 * Store what was changed of a view just before the page was left. It may be stored already: sent
 * again, it is the same.
 *
 * @param {TablesApi} api @param {number} tableId @param {Draft} draft
 */
export async function finishLeftView(api, tableId, draft) {
  const left = draft.read();
  if (!left) return;
  try {
    const id = left.creation ? await idOf(api, tableId, left.creation) : left.id;
    if (id !== null && Object.keys(left.changes).length) await api.changeView(id, left.changes);
  } catch (error) {
    if (isPassing(error)) return;
    console.warn("view", error);
  }
  draft.write(null);
}

/** The same key: the view that was made then, or else it is made now.
 * @param {TablesApi} api @param {number} tableId @param {NewView} creation @param {number} triesLeft
 * @returns {Promise<number|null>} */
async function idOf(api, tableId, { body, key }, triesLeft = MAX_REPEATS) {
  try {
    return (await api.addView(tableId, body, key)).id;
  } catch (error) {
    const { status, retryAfterSeconds } = /** @type {any} */ (error);
    // The request of the page that was left is being answered.
    const isRunning = status === 409 && retryAfterSeconds !== undefined;
    if (!isRunning || !triesLeft) throw error;
    await new Promise((resolve) => setTimeout(resolve, retryAfterSeconds * 1_000));
    return idOf(api, tableId, { body, key }, triesLeft - 1);
  }
}

/** @param {View} view @returns {ViewState} */
function stateOf(view) {
  const entries = Object.entries(EMPTY_VIEW).map((
    [name, empty],
  ) => [name, structuredClone(view[/** @type {keyof ViewState} */ (name)] ?? empty)]);
  const state = Object.fromEntries(entries);
  // Programs may name the field alone.
  state.groups = state.groups.map((/** @type {any} */ group) =>
    typeof group === "string" ? { field: group } : group
  );
  return state;
}
