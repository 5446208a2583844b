/** The tasks that a client follows: submitting, resuming after a lost connection, cancelling. */

import { ApiError } from "./api.js";
import { stringify } from "./json.js";
import { isActive, newTask, reduce } from "./task_state.js";
import { withCall, withCalls } from "./tool_calls.js";

/**
 * @import { Socket } from "./socket.js"
 * @import { CallOfTool, Decision, Frame, TaskRow, TaskState } from "./types.d.ts"
 *
 * @typedef {object} Submission without an answer yet
 * @property {Record<string, any>} frame
 * @property {(task: TaskState) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {boolean} isSent on the connection that is open now
 * @property {boolean} isResent sent on an earlier one as well
 */

/** @returns {string} 128 random bits; crypto.randomUUID would need HTTPS or localhost */
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Begins the `ref` of a subscription, which the task's id ends. */
const SUBSCRIPTION = "subscribe:";

/**
 * Events: `change` (detail: the new TaskState of a followed task), `ended` (detail: its last
 * TaskState, whole), `lost` (detail: the task's id and the error; there is no such task any more),
 * `foreign` (detail: the frame; a life-cycle event of a task that this client does not follow).
 */
export class Tasks extends EventTarget {
  #socket;
  /** @type {Map<string, TaskState>} */
  #tasks = new Map();
  /** @type {Map<string, Submission>} by ref: sent again on every new connection */
  #pending = new Map();
  /** @type {Set<string>} task ids whose hole is being filled: one subscription is enough */
  #resuming = new Set();
  /** @type {Set<string>} ids of calls of tools that are read whole, once */
  #reading = new Set();
  #request;
  #frameMaxBytes;

  /**
   * @param {Socket} socket
   * @param {(method: string, path: string, body?: object) => Promise<any>} request of the REST
   *   interface
   * @param {number} [frameMaxBytes] the server's limit
   */
  constructor(socket, request, frameMaxBytes = 262_144) {
    super();
    this.#socket = socket;
    this.#request = request;
    this.#frameMaxBytes = frameMaxBytes;
    socket.addEventListener("open", () => this.#resume());
    socket.addEventListener("frame", (event) => this.#receive(detailOf(event)));
    socket.addEventListener("rejected", () => {
      this.rejectPending(new ApiError({ code: "bad_frame" }));
    });
  }

  /** @param {string} taskId @returns {TaskState|undefined} */
  get(taskId) {
    return this.#tasks.get(taskId);
  }

  /**
   * Submit a task and follow it. Its idempotency key makes sending it again safe.
   *
   * @param {object} fields of the `task.submit` frame
   * @returns {Promise<TaskState>} once the server has stored it
   * @throws {ApiError} when the server refuses it
   */
  submit(fields) {
    const ref = randomKey();
    const frame = { type: "task.submit", ref, idempotency_key: ref, stream: true, ...fields };
    // The server cannot say whose submission a frame is that it does not read.
    if (new Blob([stringify(frame)]).size > this.#frameMaxBytes) {
      return Promise.reject(new ApiError({ code: "too_large" }));
    }
    return new Promise((resolve, reject) => {
      const isSent = this.#socket.send(frame);
      this.#pending.set(ref, { frame, resolve, reject, isSent, isResent: false });
    });
  }

  /**
   * Follow a task to its end, from the start or from a state known already.
   *
   * @param {TaskState} task
   */
  follow(task) {
    if (this.#tasks.has(task.id)) return;
    this.#tasks.set(task.id, task);
    if (isActive(task)) this.#subscribe(task);
  }

  /** Show no more of a task; it runs on. @param {string} taskId */
  unfollow(taskId) {
    const task = this.#tasks.get(taskId);
    if (!task) return;
    this.#tasks.delete(taskId);
    this.#resuming.delete(taskId);
    if (isActive(task)) this.#socket.send({ type: "task.unsubscribe", task_id: taskId });
  }

  /** @param {string} taskId */
  async cancel(taskId) {
    if (this.#socket.send({ type: "task.cancel", task_id: taskId })) return;
    await this.#request("POST", `/llmchat/tasks/${taskId}/cancel`);
  }

  /**
   * Say what becomes of a call that asks for it. The first answer counts.
   *
   * @param {string} taskId @param {string} callId @param {Decision} decision
   * @throws {ApiError} code "conflict" where it was decided already
   */
  async decide(taskId, callId, decision) {
    const path = `/llmchat/tasks/${taskId}/tool-calls/${callId}`;
    try {
      const row = await this.#request("POST", path, decision);
      const task = this.#tasks.get(taskId);
      // The event may have been faster, and know more.
      if (task?.calls.find(({ id }) => id === callId)?.state === "requires_action") {
        this.#changed({ ...task, calls: withCall(task.calls, row) });
      }
    } catch (error) {
      // Somebody else has: show what.
      if (/** @type {any} */ (error).status === 409) await this.readCalls(taskId);
      throw error;
    }
  }

  /** Read a call whole: events, and lists, have the beginning of long texts. @param {string} taskId @param {string} callId */
  async readCall(taskId, callId) {
    const row = await this.#request("GET", `/llmchat/tasks/${taskId}/tool-calls/${callId}`);
    const task = this.#tasks.get(taskId);
    if (task) this.#changed({ ...task, calls: withCall(task.calls, row) });
  }

  /** Read the calls of a followed task: the event log may have none of them. @param {string} taskId */
  async readCalls(taskId) {
    const rows = await this.#request("GET", `/llmchat/tasks/${taskId}/tool-calls`);
    const task = this.#tasks.get(taskId);
    if (task) this.#changed({ ...task, calls: withCalls(task.calls, rows) });
  }

  /** @param {TaskState} task */
  #subscribe(task) {
    const after = task.cursor === null ? {} : { after: task.cursor };
    const ref = SUBSCRIPTION + task.id;
    this.#socket.send({ type: "task.subscribe", task_id: task.id, ref, ...after });
  }

  #resume() {
    this.#resuming.clear();
    for (const task of this.#tasks.values()) if (isActive(task)) this.#subscribe(task);
    for (const submission of this.#pending.values()) {
      submission.isResent = submission.isSent;
      submission.isSent = this.#socket.send(submission.frame);
    }
  }

  /** @param {Frame} frame */
  #receive(frame) {
    // Those of runs and tables are followed elsewhere.
    if (/^(?:run|table)\./.test(frame.type) || /^(?:run|table):/.test(frame.ref ?? "")) return;
    if (frame.type === "error") return this.#refused(frame);
    if (frame.type === "task.accepted") this.#accepted(frame);
    const task = this.#tasks.get(frame.task_id);
    if (task) this.#apply(task, frame);
    else this.dispatchEvent(new CustomEvent("foreign", { detail: frame }));
  }

  /** @param {Frame} frame */
  #accepted(frame) {
    const submission = this.#pending.get(frame.ref);
    if (!submission) return;
    this.#pending.delete(frame.ref);
    const task = this.#tasks.get(frame.task_id) ?? {
      ...newTask(frame.task_id),
      scene: submission.frame.scene ?? null,
      historyFrom: frame.history_from ?? null,
    };
    this.#tasks.set(task.id, task);
    // The first sending may have been accepted on the connection that was lost, with events since.
    if (submission.isResent) this.#subscribe(task);
    submission.resolve(task);
  }

  /** @param {TaskState} task @param {Frame} frame */
  #apply(task, frame) {
    const { task: next, outcome } = reduce(task, frame);
    if (outcome === "gap" && !this.#resuming.has(task.id)) {
      this.#resuming.add(task.id);
      this.#subscribe(task);
    }
    if (outcome !== "applied") return;
    if (next.cursor !== task.cursor) this.#resuming.delete(task.id);
    this.#changed(next);
    if (isActive(next)) return;
    if (next.status !== "succeeded" || next.isCut) this.readWhole(next);
    else this.dispatchEvent(new CustomEvent("ended", { detail: next }));
  }

  /**
   * Read an ended task with its texts. Only the event of a success has the whole text, where that
   * fits into a frame; of other ends the part that came is stored; and lists have no texts.
   *
   * @param {TaskState} task
   */
  async readWhole(task) {
    let stored = task;
    try {
      stored = fromStored(await this.#request("GET", `/llmchat/tasks/${task.id}`));
      if (!stored.calls.length) stored = { ...stored, calls: task.calls };
      if (this.#tasks.has(task.id)) this.#changed(stored);
    } catch (error) {
      console.warn("the end of the task could not be read", error);
    }
    if (!isActive(stored)) this.dispatchEvent(new CustomEvent("ended", { detail: stored }));
  }

  /** @param {Frame} frame */
  #refused({ ref, error }) {
    if (ref?.startsWith(SUBSCRIPTION)) {
      const taskId = ref.slice(SUBSCRIPTION.length);
      this.dispatchEvent(
        new CustomEvent("lost", { detail: { taskId, error: new ApiError(error) } }),
      );
      return;
    }
    const submission = this.#pending.get(ref);
    if (!submission) return console.warn("refused by the server", error);
    this.#pending.delete(ref);
    submission.reject(new ApiError(error));
  }

  /** Give up all submissions that the server has not answered. @param {ApiError} error */
  rejectPending(error) {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  /** @param {TaskState} task */
  #changed(task) {
    this.#tasks.set(task.id, task);
    this.dispatchEvent(new CustomEvent("change", { detail: task }));
    for (const { id } of task.calls.filter(isAskedInPart)) this.#readAsked(task.id, id);
  }

  /** @param {string} taskId @param {string} callId */
  async #readAsked(taskId, callId) {
    if (this.#reading.has(callId)) return;
    this.#reading.add(callId);
    try {
      await this.readCall(taskId, callId);
    } catch (error) {
      console.warn("a tool call could not be read", error);
    }
  }
}

/** What is decided on must be seen whole. @param {CallOfTool} call */
function isAskedInPart({ state, isCut }) {
  return isCut && state === "requires_action";
}

/** @param {Event} event @returns {any} of a CustomEvent */
export function detailOf(event) {
  return /** @type {CustomEvent} */ (event).detail;
}

/**
 * @param {TaskRow} row a task as the REST interface sends it
 * @returns {TaskState} of a running one without its text: the event log has that from the start
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
    calls: withCalls([], row.tool_calls ?? []),
  };
  if (isActive(task)) return task;
  return {
    ...task,
    attempt: row.attempt,
    text: row.result?.text ?? "",
    reasoning: row.result?.reasoning ?? "",
    toolCalls: row.result?.tool_calls ?? [],
    finishReason: row.result?.finish_reason ?? null,
    usage: row.usage ?? {},
    error: row.error ?? null,
  };
}
