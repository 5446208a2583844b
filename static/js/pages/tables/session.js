/** A table that is open: its fields, the open view, its rows, edits on their way, and what changes
 * elsewhere. It draws nothing. */

import { detailOf } from "../../client/tasks.js";
import { t } from "../../i18n/i18n.js";
import { ChangeCount } from "./change_count.js";
import { Edits } from "./edits.js";
import { Lines } from "./lines.js";
import { Links } from "./links.js";
import { LiveTable } from "./live.js";
import { RowSource } from "./rows.js";
import { EMPTY_VIEW, finishLeftView, OpenView } from "./view_state.js";

/**
 * @import { Socket } from "../../client/socket.js"
 * @import { TablesApi } from "./api.js"
 * @import { Draft } from "./view_state.js"
 * @import { AiField, Field, Row, TableData, Value, View } from "./types.d.ts"
 */

const REOPEN_MS = 250;

/**
 * Events: `opened` (other rows, or another order), `rows` (detail: lines that look other than
 * before), `length` (rows were added), `layout` (other fields), `elsewhere` (detail: ids of rows that
 * changed elsewhere, null: any), `address` (the view was stored for the first time), `state` (of
 * edits, of the view, of changes elsewhere), `failed` (detail: the error), `reconnected`, `lost`
 * (the table).
 */
export class TableSession extends EventTarget {
  /** @type {TableData|null} */
  table = null;
  /** @type {View[]} */
  views = [];
  /** @type {AiField[]} */
  aiFields = [];
  /** @type {Lines} */
  lines;
  /** It is deleted, or may not be read any more: what was read stays in sight. */
  isLost = false;
  /** Rows that have entered or left the view since it was opened. */
  changes = 0;
  edits;
  links;
  #socket;
  #api;
  #tableId;
  #viewId;
  /** @type {OpenView|null} */
  #view = null;
  #rows;
  /** @type {LiveTable|null} */
  #live = null;
  #changeCount;
  #reopenTimer = 0;
  #isDisposed = false;
  #draft;
  #left = new AbortController();

  /**
   * @param {Socket} socket @param {TablesApi} api @param {number} tableId @param {number|null} viewId
   * @param {Draft} draft of a view that is not stored yet
   */
  constructor(socket, api, tableId, viewId, draft) {
    super();
    this.#draft = draft;
    this.#socket = socket;
    this.#api = api;
    this.#tableId = tableId;
    this.#viewId = viewId;
    this.edits = new Edits(api, tableId);
    this.links = new Links(api);
    this.#rows = new RowSource(api, () => this.#takeSnapshot());
    this.lines = new Lines(this.#rows, this.edits, this.links);
    this.#changeCount = new ChangeCount(api, this.#rows, (count) => {
      this.changes = count;
      this.dispatchEvent(new Event("state"));
    });
    this.#listen();
  }

  #listen() {
    const { edits, links } = this;
    const rows = this.#rows;
    this.#on(rows, "rows", (indexes) => this.#showRows(indexes));
    this.#on(rows, "opened", () => this.dispatchEvent(new Event("opened")));
    this.#on(rows, "length", () => this.dispatchEvent(new Event("length")));
    this.#on(rows, "failed", (error) => this.#fail(error));
    this.#on(edits, "change", (rowIds) => this.#showIds(rowIds));
    this.#on(edits, "stored", (stored) => {
      for (const row of stored) rows.apply(row.id, row);
    });
    this.#on(edits, "state", () => this.dispatchEvent(new Event("state")));
    this.#on(edits, "failed", (error) => {
      this.#fail(error);
      this.#checkAccess(error);
    });
    this.#on(links, "known", () => this.#showRows(this.lines.visibleIndexes));
    this.#on(this.#socket, "open", () => this.#reconnected());
  }

  /** As long as the page is not left: edits are sent even then.
   * @param {EventTarget} source @param {string} type @param {(detail: any) => void} listener */
  #on(source, type, listener) {
    const { signal } = this.#left;
    source.addEventListener(type, (event) => listener(detailOf(event)), { signal });
  }

  #reconnected() {
    this.edits.retryNow();
    this.#view?.store();
    // What could not be read while there was no connection.
    this.#showRows(this.lines.visibleIndexes);
    this.dispatchEvent(new Event("reconnected"));
  }

  // --- Loading --------------------------------------------------------------------------------------
  async load() {
    await finishLeftView(this.#api, this.#tableId, this.#draft);
    const [table, views, aiFields] = await Promise.all([
      this.#api.get(this.#tableId),
      this.#api.views(this.#tableId),
      this.#api.aiFields(this.#tableId),
    ]);
    this.#setTable(table);
    this.aiFields = aiFields;
    this.views = views.length ? views : [this.#firstView()];
    this.#setView(this.views.find(({ id }) => id === this.#viewId) ?? this.views[0]);
  }

  /** @param {TableData} table */
  #setTable(table) {
    this.table = table;
    this.links.attach(table.fields);
  }

  /** Stored once something of it is changed. @returns {View} */
  #firstView() {
    const state = structuredClone(EMPTY_VIEW);
    return {
      ...state,
      id: null,
      name: t("tables.first_view"),
      is_shared: this.may.edit,
      is_own: true,
    };
  }

  /** @param {View} view */
  #setView(view) {
    this.#view?.dispose();
    this.#viewId = view.id;
    this.#view = new OpenView(this.#api, this.#tableId, view, this.#draft);
    this.#view.addEventListener("rows", () => this.#reopenSoon());
    this.#view.addEventListener("layout", () => this.dispatchEvent(new Event("layout")));
    this.#view.addEventListener("stored", () => {
      this.views = [this.view.view];
      this.#viewId = this.view.id;
      this.dispatchEvent(new Event("address"));
    });
    this.#view.addEventListener("failed", (event) => this.#fail(detailOf(event)));
  }

  get isLoaded() {
    return this.table !== null && this.#view !== null;
  }

  /** @returns {TableData} once it is loaded */
  get data() {
    if (!this.table) throw new Error("the table is not loaded yet");
    return this.table;
  }

  /** @returns {OpenView} once it is loaded */
  get view() {
    if (!this.#view) throw new Error("the view is not loaded yet");
    return this.#view;
  }

  /** Of the table and its view, as the page's address has it. */
  get address() {
    return this.#viewId === null ? String(this.#tableId) : `${this.#tableId}/${this.#viewId}`;
  }

  get may() {
    const has = (/** @type {import("./types.d.ts").Access} */ access) =>
      this.table?.access.includes(access) ?? false;
    return { edit: has("edit"), run: has("run"), review: has("review"), own: has("own") };
  }

  /** Open the view for the first time, and follow what changes. */
  async open() {
    await this.#rows.reopen();
    if (this.#isDisposed) return;
    const live = new LiveTable(this.#socket, this.#tableId, this.#rows.rev);
    this.#live = live;
    live.addEventListener("changed", (event) => this.#changedElsewhere(detailOf(event)));
    live.addEventListener("reload", (event) => this.#reload(detailOf(event)));
    live.addEventListener("lost", (event) => this.#checkAccess(detailOf(event)));
  }

  /** The table may be deleted, or shared otherwise than before. @param {any} error */
  async #checkAccess({ code, status }) {
    const isRefused = status === 403 || status === 404 || code === "not_found";
    if (!isRefused || !this.table || this.isLost) return;
    try {
      const table = await this.#api.get(this.#tableId);
      if (table.deleted_at) return this.#lose(this.table);
      this.#setTable(table);
      this.dispatchEvent(new Event("layout"));
    } catch (error) {
      if (/** @type {any} */ (error).status === 404) this.#lose(this.table);
      else this.#fail(error);
    }
  }

  /** @param {TableData} table */
  #lose(table) {
    this.isLost = true;
    this.table = { ...table, access: [] };
    this.dispatchEvent(new Event("lost"));
  }

  async #takeSnapshot() {
    const { filter, sorts, groups, aggregates, collation } = this.view.state;
    const parts = { filter, sorts, groups, aggregates, collation };
    const snapshot = await this.#api.open(this.#tableId, parts);
    this.lines.layout.setGroups(groups.length ? snapshot.groups : []);
    this.changes = 0;
    return snapshot;
  }

  /** Conditions are typed letter by letter. */
  #reopenSoon() {
    clearTimeout(this.#reopenTimer);
    this.#reopenTimer = setTimeout(() => this.reopen(), REOPEN_MS);
    this.dispatchEvent(new Event("state"));
  }

  /** Other rows, or another order: a new snapshot. */
  async reopen() {
    try {
      await this.#rows.reopen();
      this.dispatchEvent(new Event("state"));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @param {number|null} id */
  async openView(id) {
    // What was changed in the one that is left, which may be the same, is read as well.
    await this.view.store();
    this.views = await this.#api.views(this.#tableId);
    this.#setView(this.views.find((view) => view.id === id) ?? this.views[0]);
    await this.reopen();
    this.dispatchEvent(new Event("layout"));
  }

  async reloadFields() {
    const [table, aiFields] = await Promise.all([
      this.#api.get(this.#tableId),
      this.#api.aiFields(this.#tableId),
    ]);
    this.#setTable(table);
    this.aiFields = aiFields;
    this.dispatchEvent(new Event("layout"));
    await this.#rereadVisible();
  }

  get snapshotId() {
    return this.#rows.snapshotId;
  }

  get fieldsShown() {
    return this.view.fieldsShown(this.data.fields);
  }

  /** @param {number} level @returns {Field|undefined} */
  groupField(level) {
    const grouping = this.view.state.groups[level];
    return this.data.fields.find(({ key }) => key === grouping?.field);
  }

  /** @param {number[]} indexes of rows */
  #showRows(indexes) {
    this.dispatchEvent(new CustomEvent("rows", { detail: this.lines.linesOf(indexes) }));
  }

  /** @param {number[]} rowIds */
  #showIds(rowIds) {
    this.#showRows(rowIds.map((rowId) => this.#rows.indexOf(rowId)).filter((index) => index >= 0));
  }

  // --- Changes ------------------------------------------------------------------------------------
  /** @param {Row} row @param {Field} field @param {Value} value
   * @param {Value} [was] what the cell held when the edit began */
  edit(row, field, value, was = this.lines.valueOf(row, field)) {
    // A refusal is shown in the cell.
    this.edits.change([{ rowId: row.id, key: field.key, was, value }]).catch(() => {});
  }

  /** New rows, shown at the end, and changed cells: by one gesture. A refusal of a cell is shown in
   * it.
   * @param {Record<string, Value>[]} rows
   * @param {{rowId: number, key: string, was: Value, value: Value}[]} [cells] */
  async create(rows, cells = []) {
    const outcomes = await this.edits.change(cells, rows);
    const made = outcomes.slice(outcomes.length - rows.length);
    const refused = made.find(({ message }) => message);
    this.#rows.add(made.flatMap(({ row }) => row ? [row] : []));
    if (refused) this.#fail(Object.assign(new Error(refused.message), { code: "invalid_form" }));
  }

  /** @param {number[]} rowIds */
  async delete(rowIds) {
    await this.edits.delete(rowIds);
    this.#rows.remove(rowIds);
  }

  /** Rows are in the order by hand where nothing sorts or groups them. */
  get isOrderedByHand() {
    const { sorts, groups } = this.view.state;
    return this.may.edit && sorts.length === 0 && groups.length === 0;
  }

  /** @param {number[]} rowIds @param {{before?: number, after?: number}} place ids of rows */
  async move(rowIds, place) {
    await this.edits.settled();
    await this.#api.moveRows(this.#tableId, rowIds, place);
    await this.reopen();
  }

  /** @param {"undo"|"redo"} direction @returns {Promise<any>} what was taken back */
  async step(direction) {
    await this.edits.settled();
    const done = await this.#api.step(this.#tableId, direction);
    const gesture = this.edits.gestureOf(done.of_rev);
    gesture?.revs.add(done.rev);
    for (let step = 1; gesture && step < gesture.steps; step++) {
      const next = await this.#api.step(this.#tableId, direction);
      gesture.revs.add(next.rev);
      done.conflicts.push(...next.conflicts);
    }
    await this.#rereadVisible();
    return done;
  }

  // --- Elsewhere ----------------------------------------------------------------------------------
  /** @param {import("./live.js").Change} change */
  async #changedElsewhere({ rows }) {
    try {
      await this.#rows.refresh(rows, this.lines.visibleRange);
    } catch (error) {
      this.#fail(error);
    }
    this.#changeCount.refreshSoon();
    this.dispatchEvent(new CustomEvent("elsewhere", { detail: rows }));
  }

  /** @param {"fields"|"rows"} reason */
  async #reload(reason) {
    try {
      if (reason === "fields") await this.reloadFields();
      else await this.#rereadVisible();
    } catch (error) {
      this.#fail(error);
    }
    this.#changeCount.refreshSoon();
    this.dispatchEvent(new CustomEvent("elsewhere", { detail: null }));
  }

  /** All rows may be others: those in sight are read now. */
  #rereadVisible() {
    const { top, bottom } = this.lines.visibleRange;
    return this.#rows.forgetAllBut(top, bottom);
  }

  /** @param {any} error */
  #fail(error) {
    this.dispatchEvent(new CustomEvent("failed", { detail: error }));
  }

  dispose() {
    this.#isDisposed = true;
    this.#left.abort();
    this.#changeCount.dispose();
    clearTimeout(this.#reopenTimer);
    this.#live?.dispose();
    this.#rows.dispose();
    this.edits.dispose();
    this.#view?.dispose();
  }
}
