/** Runs: many requests as one thing, made of a file or of rows, and their progress over the WebSocket. */

import { ApiError, refusal } from "./api.js";
import { parseExactly, stringify } from "./json.js";
import { randomKey } from "./tasks.js";

/**
 * @import { Api } from "./api.js"
 * @import { Socket } from "./socket.js"
 * @import { ErrorGroup, Estimate, Frame, ResultRow, RowPage, RunData, RunFields } from "./types.d.ts"
 *
 * @typedef {Blob|ReadableStream<Uint8Array>|string|Iterable<unknown>|AsyncIterable<unknown>} Rows
 * @typedef {(frame: Frame|null, error?: ApiError) => void} Listener
 * @typedef {object} Surroundings
 * @property {() => void} [connect] called before progress is asked for
 * @property {<T>(send: () => Promise<T>) => Promise<T>} [retry] sends what may be sent again
 */

const PATH = "/llmchat/runs";
/** Begins the `ref` of a subscription, which the run's id ends. */
const SUBSCRIPTION = "run:";
const ENDED = ["done", "cancelled", "failed", "expired"];

/** @param {string} state of a run @returns {boolean} */
export function isEnded(state) {
  return ENDED.includes(state);
}

export class Runs {
  #api;
  #socket;
  #connect;
  #retry;
  /** @type {Map<string, Set<Listener>>} by the run's id */
  #listeners = new Map();

  /** @param {Api} api @param {Socket} socket @param {Surroundings} [surroundings] */
  constructor(api, socket, { connect = () => {}, retry = (send) => send() } = {}) {
    this.#api = api;
    this.#socket = socket;
    this.#connect = connect;
    this.#retry = retry;
    socket.addEventListener("open", () => {
      for (const runId of this.#listeners.keys()) this.#subscribe(runId);
    });
    socket.addEventListener("frame", (event) => {
      this.#receive(/** @type {CustomEvent} */ (event).detail);
    });
  }

  /**
   * Make a run of a file (CSV or JSONL), or of rows: variables of a scene, or whole requests. It is
   * sent again after a lost connection, which its idempotency key makes safe.
   *
   * @param {Rows} rows a File, Blob, stream or text of a file; or objects, one for each row
   * @param {RunFields} [fields] scene, mapping, options, start, ...; name, such as "reviews.csv"
   * @returns {Promise<Run>}
   * @throws {ApiError}
   */
  async create(rows, { idempotencyKey = randomKey(), ...fields } = {}) {
    const form = await formOf(rows, fields);
    const headers = { "Idempotency-Key": idempotencyKey };
    const data = await this.#retry(() => this.#api.request("POST", PATH, { body: form, headers }));
    return this.of(data);
  }

  /** @param {string} runId @returns {Promise<Run>} one that was made before @throws {ApiError} */
  async get(runId) {
    return this.of(await this.#api.request("GET", `${PATH}/${runId}`));
  }

  /**
   * @param {Record<string, string|number>} [filters] state, scene, limit, offset, ...
   * @returns {Promise<{items: RunData[], count: number}>} newest first
   * @throws {ApiError}
   */
  list(filters = {}) {
    return this.#api.request("GET", `${PATH}${queryOf(filters)}`);
  }

  /** @param {RunData} data of a list, such as @returns {Run} */
  of(data) {
    return new Run(data, this.#api, this.#retry, (listener) => this.#listen(data.id, listener));
  }

  /** @param {string} runId @param {Listener} listener @returns {() => void} ends it */
  #listen(runId, listener) {
    const listeners = this.#listeners.get(runId) ?? new Set();
    this.#listeners.set(runId, listeners.add(listener));
    this.#connect();
    // Again for each: it has the progress of now sent.
    this.#subscribe(runId);
    return () => {
      listeners.delete(listener);
      if (listeners.size > 0 || this.#listeners.get(runId) !== listeners) return;
      this.#listeners.delete(runId);
      this.#socket.send({ type: "run.unsubscribe", run_id: runId });
    };
  }

  /** @param {string} runId */
  #subscribe(runId) {
    this.#socket.send({ type: "run.subscribe", run_id: runId, ref: SUBSCRIPTION + runId });
  }

  /** @param {Frame} frame */
  #receive(frame) {
    if (frame.type === "run.progress") {
      for (const listen of this.#listeners.get(frame.run_id) ?? []) listen(frame);
    } else if (frame.type === "error" && frame.ref?.startsWith(SUBSCRIPTION)) {
      const runId = frame.ref.slice(SUBSCRIPTION.length);
      this.#fail(runId, new ApiError(frame.error));
    }
  }

  /** End all following. @param {ApiError} error */
  fail(error) {
    for (const runId of [...this.#listeners.keys()]) this.#fail(runId, error);
  }

  /** @param {string} runId @param {ApiError} error */
  #fail(runId, error) {
    for (const listen of this.#listeners.get(runId) ?? []) listen(null, error);
    this.#listeners.delete(runId);
  }
}

/** A run. Iterating over it gives how far it is, now and whenever that has changed, to its end. */
export class Run {
  /** What is known of it: state, counts, cost, ... @type {RunData} */
  data;
  #api;
  #retry;
  #listen;

  /**
   * Made by `Runs`.
   *
   * @param {RunData} data @param {Api} api @param {NonNullable<Surroundings["retry"]>} retry
   * @param {(listener: Listener) => () => void} listen
   */
  constructor(data, api, retry, listen) {
    this.data = data;
    this.#api = api;
    this.#retry = retry;
    this.#listen = listen;
  }

  get id() {
    return this.data.id;
  }

  get isEnded() {
    return isEnded(this.data.state);
  }

  [Symbol.asyncIterator]() {
    return this.progress();
  }

  /**
   * Progress survives lost connections: what comes is always the newest. Ends with the run.
   *
   * @param {{signal?: AbortSignal}} [options] `signal` ends it before that
   * @returns {AsyncGenerator<RunData>} throws ApiError where the connection is given up
   */
  async *progress({ signal } = {}) {
    /** @type {Frame|null} */
    let newest = null;
    /** @type {ApiError|undefined} */
    let failure;
    let wake = () => {};
    const leave = this.#listen((frame, error) => {
      newest = frame ?? newest;
      failure = error;
      wake();
    });
    const stop = () => wake();
    signal?.addEventListener("abort", stop);
    try {
      while (!signal?.aborted) {
        const frame = /** @type {Frame|null} */ (newest);
        newest = null;
        if (frame) {
          yield this.#apply(frame);
          if (isEnded(frame.state)) return;
        } else if (failure) {
          throw failure;
        } else {
          await new Promise((resolve) => (wake = () => resolve(undefined)));
        }
      }
    } finally {
      signal?.removeEventListener("abort", stop);
      leave();
    }
  }

  /** @param {Frame} frame @returns {RunData} */
  #apply({ type: _type, run_id: _id, reason, message, ...progress }) {
    this.data = { ...this.data, ...progress, reason: reason ?? "", message: message ?? "" };
    return this.data;
  }

  /** Wait until it has ended, or is paused or ready. @returns {Promise<RunData>} @throws {ApiError} */
  async settled() {
    for await (const { state } of this) if (state === "ready" || state === "paused") break;
    return this.data;
  }

  /** Read it again, whole. @returns {Promise<RunData>} @throws {ApiError} */
  reload() {
    return this.#update("GET", "");
  }

  /** Of a run that is ready or paused. @param {Partial<RunFields>} fields */
  change(fields) {
    return this.#update("PATCH", "", fields);
  }

  /**
   * Run a few rows that stand for all. Their results are kept until other things are asked. It is
   * sent again after a lost connection, which its idempotency key makes safe.
   *
   * @param {number} [rows] @param {{idempotencyKey?: string}} [options]
   * @returns {Promise<{numbers: number[]}>} @throws {ApiError}
   */
  try(rows = 10, { idempotencyKey = randomKey() } = {}) {
    const headers = { "Idempotency-Key": idempotencyKey };
    return this.#retry(() => this.#request("POST", "/try", { rows }, headers));
  }

  /** @returns {Promise<Estimate>} of the rows that have not been run @throws {ApiError} */
  estimate() {
    return this.#request("POST", "/estimate", {});
  }

  /**
   * @param {"now"|"off_peak"|"at"} [start] @param {string|null} [startAt] with "at": when
   * @returns {Promise<RunData>}
   */
  start(start = "now", startAt = null) {
    return this.#retry(() => this.#update("POST", "/start", { start, start_at: startAt }));
  }

  /** Begin no further call. @returns {Promise<RunData>} */
  pause() {
    return this.#retry(() => this.#update("POST", "/pause", {}));
  }

  /** @returns {Promise<RunData>} */
  resume() {
    return this.#retry(() => this.#update("POST", "/resume", {}));
  }

  /** End it for good; its results are kept. @returns {Promise<RunData>} */
  cancel() {
    return this.#retry(() => this.#update("POST", "/cancel", {}));
  }

  /**
   * Run the rows again that failed, expired or were cancelled.
   *
   * @param {{idempotencyKey?: string}} [options] @returns {Promise<RunData>} @throws {ApiError}
   */
  retryFailed({ idempotencyKey = randomKey() } = {}) {
    const headers = { "Idempotency-Key": idempotencyKey };
    return this.#retry(() => this.#update("POST", "/retry-failed", {}, headers));
  }

  /** Delete it and its results. @returns {Promise<void>} @throws {ApiError} */
  delete() {
    return this.#request("DELETE", "");
  }

  /**
   * @param {{state?: string, code?: string, after?: number, limit?: number}} [filters]
   * @returns {Promise<RowPage>} rows in order, after a number @throws {ApiError}
   */
  rows(filters = {}) {
    return this.#request("GET", `/rows${queryOf(filters)}`);
  }

  /** @returns {Promise<ErrorGroup[]>} why rows have failed, the most frequent first */
  errors() {
    return this.#request("GET", "/errors");
  }

  /** @param {"csv"|"jsonl"} format @returns {string} of the file of results, below the page's origin */
  fileAddress(format) {
    return `/api${PATH}/${this.id}/results?format=${format}`;
  }

  /**
   * @param {"csv"|"jsonl"} format @returns {Promise<ReadableStream<Uint8Array>>} the file of results
   * @throws {ApiError}
   */
  async file(format) {
    const response = await this.#api.send("GET", `${PATH}/${this.id}/results?format=${format}`);
    if (response.ok && response.body) return response.body;
    throw refusal(response, await response.json().catch(() => null));
  }

  /** @returns {AsyncGenerator<ResultRow>} the rows that have ended, in order, with their answers */
  async *results() {
    let rest = "";
    for await (const part of textsOf(await this.file("jsonl"))) {
      const lines = (rest + part).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) yield parseExactly(line);
    }
    // Each line has its end: the connection broke within this one.
    if (rest) throw new ApiError({ code: "network" });
  }

  /**
   * @param {string} method @param {string} path @param {object} [body]
   * @param {Record<string, string>} [headers]
   */
  async #update(method, path, body, headers) {
    this.data = await this.#request(method, path, body, headers);
    return this.data;
  }

  /**
   * @param {string} method @param {string} path @param {object} [body]
   * @param {Record<string, string>} [headers]
   */
  #request(method, path, body, headers) {
    return this.#api.request(method, `${PATH}/${this.id}${path}`, { body, headers });
  }
}

/**
 * Streams are no async iterables in every browser.
 *
 * @param {ReadableStream<Uint8Array>} stream @returns {AsyncGenerator<string>}
 */
async function* textsOf(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } catch {
    throw new ApiError({ code: "network" });
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** @param {object} filters @returns {string} empty ones are left out */
function queryOf(filters) {
  const given = Object.entries(filters).filter(([, value]) => value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

// --- The form of a new run ----------------------------------------------------------------------
/** @param {Rows} rows @param {RunFields} fields @returns {Promise<FormData>} */
async function formOf(rows, fields) {
  const isFile = rows instanceof Blob || rows instanceof ReadableStream || typeof rows === "string";
  const name = (rows instanceof File && rows.name) || fields.name || "rows";
  const format = isFile ? {} : { format: "jsonl" };
  const form = new FormData();
  for (const [field, value] of Object.entries({ ...format, ...fields })) {
    if (value === undefined || value === null) continue;
    const isPlain = typeof value !== "object" || value instanceof Date;
    form.append(field, isPlain ? textOf(value) : stringify(value));
  }
  form.append("file", isFile ? await blobOf(rows) : await blobOfRows(rows), name);
  return form;
}

/** @param {unknown} value */
function textOf(value) {
  return value instanceof Date ? value.toISOString() : String(value);
}

/** A stream is read to its end first, so that it can be sent again. @param {any} file */
function blobOf(file) {
  return file instanceof Blob ? file : new Response(file).blob();
}

/** @param {any} rows @returns {Promise<Blob>} a line of JSON for each */
async function blobOfRows(rows) {
  /** @type {string[]} */
  const lines = [];
  for await (const row of rows) lines.push(`${stringify(row)}\n`);
  return new Blob(lines);
}
