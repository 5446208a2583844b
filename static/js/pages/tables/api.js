/** The REST interface of tables, as far as the page calls it. */

import { randomKey } from "../../client/tasks.js";
import { api } from "../../net/api.js";
import { detail } from "../../ui/notice.js";

/**
 * @import { ErrorGroup } from "../../client/types.d.ts"
 * @import { Operation, Outcome } from "./edits.js"
 * @import { Snapshot } from "./rows.js"
 * @import { AiField, CellData, Comparison, ComparisonItem, ExportData, Field, ImportData, Review, Row, RunCells, Scope, Share } from "./types.d.ts"
 * @import { ScopeEstimate, TableData, TablePage, TableRunData, Value, View, ViewState } from "./types.d.ts"
 */

/** This tab: undo and redo take back what was done in it. */
export const CLIENT = randomKey();
const HERE = `client=${CLIENT}`;
/** The most tables that the server lists at once. */
const PAGE = 100;

export class TablesApi {
  /**
   * @param {{limit: number, offset: number, isDeleted?: boolean}} page
   * @returns {Promise<TablePage>} newest first
   */
  list({ limit, offset, isDeleted = false }) {
    return this.#call("GET", `?limit=${limit}&offset=${offset}&is_deleted=${isDeleted}`);
  }

  /**
   * All that the user may see, page by page; there may be a thousand.
   *
   * @param {{isDeleted?: boolean}} [which] @returns {Promise<TablePage["items"]>}
   */
  async listAll({ isDeleted = false } = {}) {
    /** @type {TablePage["items"]} */
    const tables = [];
    for (;;) {
      const page = await this.list({ limit: PAGE, offset: tables.length, isDeleted });
      tables.push(...page.items);
      if (page.items.length < PAGE) return tables;
    }
  }

  /** @param {{name: string, fields?: Partial<Field>[]}} table @returns {Promise<TableData>} */
  create(table) {
    return this.#call("POST", "", table, randomKey());
  }

  /** @param {number|string} id @returns {Promise<TableData>} */
  get(id) {
    return this.#call("GET", `/${id}`);
  }

  /** @param {number} id @param {object} changes @returns {Promise<TableData>} */
  change(id, changes) {
    return this.#call("PATCH", `/${id}`, changes);
  }

  /** @param {number} id */
  delete(id) {
    return this.#call("DELETE", `/${id}`);
  }

  /** @param {number} id */
  restore(id) {
    return this.#call("POST", `/${id}:restore`);
  }

  /** @param {number} id @returns {Promise<{shares: Share[]}>} */
  shares(id) {
    return this.#call("GET", `/${id}/shares`);
  }

  /** @param {number} id @param {Share[]} shares in place of those before */
  setShares(id, shares) {
    return this.#call("PUT", `/${id}/shares`, { shares });
  }

  // --- Fields -------------------------------------------------------------------------------------
  /** @param {number} table @param {object} field @returns {Promise<Field>} */
  addField(table, field) {
    return this.#call("POST", `/${table}/fields`, { ...field, client: CLIENT }, randomKey());
  }

  /** @param {number} id @param {object} changes @returns {Promise<Field>} */
  changeField(id, changes) {
    return this.#call("PATCH", `/fields/${id}`, { ...changes, client: CLIENT });
  }

  /** @param {number} id @returns {Promise<any>} with the report of a change of its kind */
  getField(id) {
    return this.#call("GET", `/fields/${id}`);
  }

  /** @param {number} id */
  deleteField(id) {
    return this.#call("DELETE", `/fields/${id}?${HERE}`);
  }

  /** @param {number} table @returns {Promise<Field[]>} in the trash, the newest first */
  deletedFields(table) {
    return this.#call("GET", `/${table}/fields?is_deleted=true`);
  }

  /** @param {number} id */
  restoreField(id) {
    return this.#call("POST", `/fields/${id}:restore?${HERE}`);
  }

  // --- Rows ---------------------------------------------------------------------------------------
  /**
   * @param {number} table @param {Operation[]} operations @param {string} key
   * @returns {Promise<{rev: number|null, outcomes: Outcome[]}>} outcomes in the order of the
   * operations; the table's revision by them, null: nothing has changed
   */
  async batch(table, operations, key) {
    const body = { operations: operations.map(operationBody), atomic: false, client: CLIENT };
    const { rev, results } = await this.#call("POST", `/${table}/rows:batch`, body, key);
    const outcomes = operations.map((operation, place) => outcomeOf(operation, results[place]));
    return { rev, outcomes };
  }

  /** @param {number} table @param {number[]} rows @param {{before?: number, after?: number}} place */
  moveRows(table, rows, place) {
    return this.#call("POST", `/${table}/rows:move`, { rows, ...place, client: CLIENT });
  }

  /** @param {number} table @param {object} query @returns {Promise<{items: Row[], next: string|null}>} */
  query(table, query) {
    return this.#call("POST", `/${table}/rows:query`, query);
  }

  /** @param {number} table @param {"undo"|"redo"} direction */
  step(table, direction) {
    return this.#call("POST", `/${table}:${direction}`, { client: CLIENT });
  }

  // --- Views --------------------------------------------------------------------------------------
  /** @param {number} table @returns {Promise<View[]>} */
  views(table) {
    return this.#call("GET", `/${table}/views`);
  }

  /** @param {string} snapshot @returns {Promise<{entered: number, left: number}>} since it was made */
  snapshotChanges(snapshot) {
    return this.#call("GET", `/snapshots/${snapshot}/changes`);
  }

  /** @param {number} table @param {object} view @param {string} key @returns {Promise<View>} */
  addView(table, view, key) {
    const headers = { "Idempotency-Key": key };
    const call = { body: view, headers, outlivesPage: true };
    return api.request("POST", `/tables/${table}/views`, call);
  }

  /** @param {number} id @param {Partial<ViewState>|object} changes @returns {Promise<View>} */
  changeView(id, changes) {
    const call = { body: changes, outlivesPage: true };
    return api.request("PATCH", `/tables/views/${id}`, call);
  }

  /** @param {number} id */
  deleteView(id) {
    return this.#call("DELETE", `/views/${id}`);
  }

  /** @param {number} table @param {Partial<ViewState>} state @returns {Promise<Snapshot>} */
  open(table, state) {
    return this.#call("POST", `/${table}:open`, state);
  }

  /** @param {string} snapshot @param {number} from @param {number} n @returns {Promise<(Row|null)[]>} */
  async snapshotRows(snapshot, from, n) {
    const { items } = await this.#call("GET", `/snapshots/${snapshot}/rows?from=${from}&n=${n}`);
    return items;
  }

  // --- Files --------------------------------------------------------------------------------------
  /** @param {number|null} table null: a new one @param {File} file @param {string} key @returns {Promise<ImportData>} */
  async sendImport(table, file, key) {
    const path = table === null ? "/imports" : `/${table}/imports`;
    const headers = { "Idempotency-Key": key, "Content-Type": "application/octet-stream" };
    const query = new URLSearchParams({ file_name: file.name });
    return await api.request("POST", `/tables${path}?${query}`, { body: file, headers });
  }

  /** @param {string} id @returns {Promise<ImportData>} */
  getImport(id) {
    return this.#call("GET", `/imports/${id}`);
  }

  /** @param {string} id @param {object} changes @returns {Promise<ImportData>} */
  changeImport(id, changes) {
    return this.#call("PATCH", `/imports/${id}`, changes);
  }

  /** @param {string} id @returns {Promise<ImportData>} */
  startImport(id) {
    return this.#call("POST", `/imports/${id}:start`, { client: CLIENT });
  }

  /** @param {string} id @returns {Promise<ImportData>} */
  cancelImport(id) {
    return this.#call("POST", `/imports/${id}:cancel`, {});
  }

  /** @param {string} id @returns {string} */
  reportAddress(id) {
    return `/api/tables/imports/${id}/report.csv`;
  }

  /** @param {number} table @param {object} options @returns {Promise<ExportData>} */
  startExport(table, options) {
    return this.#call("POST", `/${table}/exports`, options, randomKey());
  }

  /** @param {string} id @returns {Promise<ExportData>} */
  getExport(id) {
    return this.#call("GET", `/exports/${id}`);
  }

  /** @param {string} id @returns {Promise<ExportData>} */
  cancelExport(id) {
    return this.#call("POST", `/exports/${id}:cancel`);
  }

  /** @param {string} id @returns {string} */
  exportAddress(id) {
    return `/api/tables/exports/${id}/file`;
  }

  // --- AI fields and their runs -------------------------------------------------------------------
  /** @param {number} table @returns {Promise<AiField[]>} */
  aiFields(table) {
    return this.#call("GET", `/${table}/ai-fields`);
  }

  /** @param {number} table @param {object} field @returns {Promise<AiField>} */
  addAiField(table, field) {
    return this.#call("POST", `/${table}/ai-fields`, { ...field, client: CLIENT }, randomKey());
  }

  /** @param {number} id @param {object} changes @returns {Promise<AiField>} */
  changeAiField(id, changes) {
    return this.#call("PATCH", `/ai-fields/${id}`, { ...changes, client: CLIENT });
  }

  /** @param {number} id */
  deleteAiField(id) {
    return this.#call("DELETE", `/ai-fields/${id}?${HERE}`);
  }

  /** @param {number} id with the fields that it fills */
  restoreAiField(id) {
    return this.#call("POST", `/ai-fields/${id}:restore?${HERE}`);
  }

  /** @param {number} id @returns {Promise<{counts: Record<string, number>}>} cells by their states */
  cellStates(id) {
    return this.#call("GET", `/ai-fields/${id}/states`);
  }

  /** @param {number} id @param {Scope} scope @param {boolean} shares whether equal rows are asked once
   * @returns {Promise<ScopeEstimate>} */
  estimate(id, scope, shares) {
    return this.#call("POST", `/ai-fields/${id}:estimate`, { scope, share_equal: shares });
  }

  /** @param {number} id @param {object} run @returns {Promise<{id: string, runs: TableRunData[]}>} */
  addRun(id, run) {
    return this.#call("POST", `/ai-fields/${id}/runs`, run, randomKey());
  }

  /** @param {number} table @returns {Promise<TableRunData[]>} the latest ones, newest first */
  runs(table) {
    return this.#call("GET", `/${table}/runs`);
  }

  /** @param {string} id @returns {Promise<TableRunData>} */
  run(id) {
    return this.#call("GET", `/runs/${id}`);
  }

  /** @param {string} id @param {object} limits @returns {Promise<TableRunData>} */
  changeRun(id, limits) {
    return this.#call("PATCH", `/runs/${id}`, limits);
  }

  /**
   * @param {string} id @param {"estimate"|"try"|"start"|"pause"|"resume"|"cancel"|"retry-failed"|"revert"} action
   * @param {object} [options] @returns {Promise<any>}
   */
  actOnRun(id, action, options) {
    return this.#call("POST", `/runs/${id}:${action}`, options);
  }

  /** @param {string} id @returns {Promise<ErrorGroup[]>} why cells have failed, the most frequent first */
  runErrors(id) {
    return this.#call("GET", `/runs/${id}/errors`);
  }

  /**
   * @param {string} id @param {string} state @param {number} limit
   * @returns {Promise<RunCells>}
   */
  runRows(id, state, limit) {
    return this.#call("GET", `/runs/${id}/rows?state=${state}&limit=${limit}`);
  }

  // --- Two configurations, single answers ---------------------------------------------------------
  /** @param {number} aiField @param {object} comparison @returns {Promise<Comparison>} */
  compare(aiField, comparison) {
    return this.#call("POST", `/ai-fields/${aiField}/comparisons`, comparison, randomKey());
  }

  /** @param {number} aiField @returns {Promise<ComparisonItem[]>} the latest ones, newest first */
  comparisons(aiField) {
    return this.#call("GET", `/ai-fields/${aiField}/comparisons`);
  }

  /** @param {number} id @returns {Promise<Comparison>} */
  comparison(id) {
    return this.#call("GET", `/comparisons/${id}`);
  }

  /** @param {number} id @returns {Promise<Comparison>} that says which side is which */
  revealComparison(id) {
    return this.#call("POST", `/comparisons/${id}:reveal`);
  }

  /** @param {number} aiField @param {number} row @returns {Promise<CellData>} */
  cell(aiField, row) {
    return this.#call("GET", `/cells/${aiField}/${row}`);
  }

  /** @param {number} aiField @param {number} row @param {Review} review @returns {Promise<CellData>} */
  review(aiField, row, review) {
    return this.#call("PUT", `/cells/${aiField}/${row}/review`, review);
  }

  /**
   * @param {string} method @param {string} path @param {object} [body] @param {string} [key] makes
   * sending it again harmless
   * @returns {Promise<any>}
   */
  #call(method, path, body, key) {
    const headers = key ? { "Idempotency-Key": key } : undefined;
    return api.request(method, `/tables${path}`, { body, headers });
  }
}

/** @param {Operation} operation */
function operationBody({ kind, rowId, edits = [], values }) {
  if (kind === "create") return { op: kind, values };
  if (kind === "delete") return { op: kind, id: rowId };
  return { op: kind, id: rowId, values: byKey(edits, "value"), was: byKey(edits, "was") };
}

/** @param {import("./edits.js").Edit[]} edits @param {"value"|"was"} name @returns {Record<string, Value>} */
function byKey(edits, name) {
  return Object.fromEntries(edits.map((edit) => [edit.key, edit[name]]));
}

/** @param {Operation} operation @param {any} result @returns {Outcome} */
function outcomeOf({ kind, edits = [], values = {} }, { id, version, conflicts, error }) {
  const current = Object.fromEntries(
    conflicts.filter((/** @type {any} */ { field }) => field !== null)
      .map((/** @type {any} */ { field, value }) => [field, value]),
  );
  const refused = error
    ? { message: detail(error).text, field: error.field?.split(".").at(-1) }
    : {};
  if (error || kind === "delete") return { conflicts: current, ...refused };
  const written = kind === "create" ? values : byKey(edits, "value");
  return { row: { id, version, values: { ...written, ...current } }, conflicts: current };
}
