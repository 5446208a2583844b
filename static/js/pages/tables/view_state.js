/** The view that is open: what of it is stored, and what was changed in it. */

/**
 * @import { TablesApi } from "./api.js"
 * @import { Field, View, ViewState } from "./types.d.ts"
 */

/** Widths are dragged, conditions typed: what rests for so long is stored. */
const STORE_MS = 600;
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

  /** @param {TablesApi} api @param {number} tableId @param {View} view */
  constructor(api, tableId, view) {
    super();
    this.#api = api;
    this.#tableId = tableId;
    this.#view = view;
    this.#state = stateOf(view);
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
    if (this.#view.is_own) this.#timer = setTimeout(() => this.store(), STORE_MS);
    const isOfRows = Object.keys(changes).some((name) => OF_ROWS.includes(name));
    this.dispatchEvent(new Event(isOfRows ? "rows" : "layout"));
  }

  async store() {
    clearTimeout(this.#timer);
    const changes = this.#unstored;
    if (!this.#view.is_own || Object.keys(changes).length === 0) return;
    this.#unstored = {};
    try {
      await this.#write(changes);
    } catch (error) {
      this.dispatchEvent(new CustomEvent("failed", { detail: error }));
    }
  }

  /** Its name, whether others see it. @param {Partial<View>} changes */
  rename(changes) {
    return this.#write(changes);
  }

  /** @param {Partial<View>} changes */
  async #write(changes) {
    const { id, name, is_shared } = this.#view;
    this.#view = id === null
      ? await this.#api.addView(this.#tableId, { name, is_shared, ...this.#state, ...changes })
      : await this.#api.changeView(id, changes);
    if (id === null) this.dispatchEvent(new Event("stored"));
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
    const order = this.fieldsInOrder(fields).map((field) => field.key);
    const shown = order.filter((name) => !this.#state.hidden.includes(name));
    const target = shown[shown.indexOf(key) + step];
    if (!target) return;
    const [from, to] = [order.indexOf(key), order.indexOf(target)];
    order.splice(from, 1);
    order.splice(to, 0, key);
    this.change({ order });
  }

  dispose() {
    return this.store();
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
