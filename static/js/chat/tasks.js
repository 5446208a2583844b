/** The tasks this page follows: submitting, resuming after a lost connection, cancelling. */

import { ApiError, request } from "./api.js";
import { isActive, newTask, reduce } from "./reducer.js";

/** @returns {string} 128 random bits; crypto.randomUUID would need HTTPS or localhost */
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Events: `change` (detail: the new TaskState of a followed task), `foreign` (detail: the frame; a
 * life-cycle event of a task that this page does not follow, as begun in another tab).
 */
export class Tasks extends EventTarget {
  #socket;
  /** @type {Map<string, import("./reducer.js").TaskState>} */
  #tasks = new Map();
  /** Submissions without an answer yet, by ref: sent again on every new connection. */
  #pending = new Map();
  /** Task ids whose hole is being filled: one subscription is enough for it. */
  #resuming = new Set();

  #frameMaxBytes;

  /** @param {import("./socket.js").Socket} socket @param {number} frameMaxBytes the server's limit */
  constructor(socket, frameMaxBytes) {
    super();
    this.#socket = socket;
    this.#frameMaxBytes = frameMaxBytes;
    socket.addEventListener("open", () => this.#resume());
    socket.addEventListener("frame", (event) => this.#receive(event.detail));
    socket.addEventListener("rejected", () => this.#rejectPending());
  }

  /** @param {string} taskId @returns {import("./reducer.js").TaskState|undefined} */
  get(taskId) {
    return this.#tasks.get(taskId);
  }

  /**
   * Submit a task and follow it. Its idempotency key makes sending it again safe.
   *
   * @param {object} fields of the `task.submit` frame
   * @returns {Promise<import("./reducer.js").TaskState>} once the server has stored it
   * @throws {ApiError} when the server refuses it
   */
  submit(fields) {
    const ref = randomKey();
    const frame = { type: "task.submit", ref, idempotency_key: ref, stream: true, ...fields };
    // The server cannot say whose submission a frame is that it does not read.
    if (new Blob([JSON.stringify(frame)]).size > this.#frameMaxBytes) {
      const message = `The request has more than ${this.#frameMaxBytes} bytes.`;
      return Promise.reject(new ApiError({ code: "too_large", message }));
    }
    return new Promise((resolve, reject) => {
      this.#pending.set(ref, { frame, resolve, reject, sent: this.#socket.send(frame) });
    });
  }

  /**
   * Follow a task to its end, from the start or from a state known already.
   *
   * @param {import("./reducer.js").TaskState} task
   */
  follow(task) {
    if (this.#tasks.has(task.id)) return;
    this.#tasks.set(task.id, task);
    if (isActive(task)) this.#subscribe(task);
  }

  /** Show no more of a task; it runs on. @param {string} taskId */
  unfollow(taskId) {
    const task = this.#tasks.get(taskId);
    if (!this.#tasks.delete(taskId)) return;
    this.#resuming.delete(taskId);
    if (isActive(task)) this.#socket.send({ type: "task.unsubscribe", task_id: taskId });
  }

  /** @param {string} taskId */
  async cancel(taskId) {
    if (this.#socket.send({ type: "task.cancel", task_id: taskId })) return;
    await request("POST", `/llmchat/tasks/${taskId}/cancel`);
  }

  #subscribe(task) {
    const frame = { type: "task.subscribe", task_id: task.id };
    if (task.cursor !== null) frame.after = task.cursor;
    this.#socket.send(frame);
  }

  #resume() {
    this.#resuming.clear();
    for (const task of this.#tasks.values()) if (isActive(task)) this.#subscribe(task);
    for (const entry of this.#pending.values()) {
      entry.resent = entry.sent;
      entry.sent = this.#socket.send(entry.frame);
    }
  }

  #receive(frame) {
    if (frame.type === "error") return this.#refused(frame);
    if (frame.type === "task.accepted") this.#accepted(frame);
    const task = this.#tasks.get(frame.task_id);
    if (task) this.#apply(task, frame);
    else this.dispatchEvent(new CustomEvent("foreign", { detail: frame }));
  }

  #accepted(frame) {
    const entry = this.#pending.get(frame.ref);
    if (!entry) return;
    this.#pending.delete(frame.ref);
    const fresh = {
      ...newTask(frame.task_id),
      scene: entry.frame.scene ?? null,
      historyFrom: frame.history_from ?? null,
    };
    const task = this.#tasks.get(frame.task_id) ?? fresh;
    this.#tasks.set(task.id, task);
    // The first sending may have been accepted on the connection that was lost, with events since.
    if (entry.resent) this.#subscribe(task);
    entry.resolve(task);
  }

  #apply(task, frame) {
    const { task: next, outcome } = reduce(task, frame);
    if (outcome === "gap" && !this.#resuming.has(task.id)) {
      this.#resuming.add(task.id);
      this.#subscribe(task);
    }
    if (outcome !== "applied") return;
    if (next.cursor !== task.cursor) this.#resuming.delete(task.id);
    this.#tasks.set(task.id, next);
    this.#changed(next);
    if (!isActive(next) && (next.status !== "succeeded" || next.isCut)) this.readWhole(next);
  }

  /**
   * Read an ended task with its texts. Only a success tells the whole text, where that fits into a
   * frame; the others keep the part that is stored; and lists have none.
   *
   * @param {import("./reducer.js").TaskState} task
   */
  async readWhole(task) {
    try {
      const stored = fromStored(await request("GET", `/llmchat/tasks/${task.id}`));
      if (!this.#tasks.has(task.id)) return;
      this.#tasks.set(task.id, stored);
      this.#changed(stored);
    } catch (error) {
      console.warn("the end of the task could not be read", error);
    }
  }

  #refused({ ref, error }) {
    const entry = this.#pending.get(ref);
    if (!entry) return console.warn("refused by the server", error);
    this.#pending.delete(ref);
    entry.reject(new ApiError(error));
  }

  #rejectPending() {
    const message = "The server could not read the request.";
    for (const entry of this.#pending.values()) {
      entry.reject(new ApiError({ code: "bad_frame", message }));
    }
    this.#pending.clear();
  }

  #changed(task) {
    this.dispatchEvent(new CustomEvent("change", { detail: task }));
  }
}

/**
 * @param {object} row a task as the REST interface tells it
 * @returns {import("./reducer.js").TaskState} of a running one without its text: the event log
 *   tells that from the start
 */
export function fromStored(row) {
  const task = {
    ...newTask(row.task_id),
    scene: row.scene,
    status: row.status,
    model: row.model ?? "",
    position: row.position ?? null,
    etaSeconds: row.eta_seconds ?? null,
    historyFrom: row.history_from ?? null,
  };
  if (isActive(task)) return task;
  return {
    ...task,
    attempt: row.attempt,
    text: row.result?.text ?? "",
    reasoning: row.result?.reasoning ?? "",
    finishReason: row.result?.finish_reason ?? null,
    usage: row.usage ?? {},
    error: row.error ?? null,
  };
}
