/**
 * aily's client for browsers, Node 22, Deno and Bun: submits tasks, streams their answers through lost
 * connections, cancels them; makes runs of files and follows them. No dependencies; beside this file it
 * needs the directory `client/`.
 *
 *     const aily = new AilyClient({ url: "https://aily.example", key: "..." });
 *     const task = await aily.submit({ scene: "summarize", variables: { text } });
 *     for await (const event of task) if (event.type === "text") show(event.task.text);
 *     const { text, usage } = await task.result();
 *
 *     const run = await aily.runs.create(file, { scene: "summarize", start: "now" });
 *     for await (const { counts, eta_seconds } of run) showProgress(counts, eta_seconds);
 *     for await (const { key, result } of run.results()) keep(key, result?.text);
 */

import { Api, ApiError } from "./client/api.js";
import { Run, Runs } from "./client/runs.js";
import { Socket } from "./client/socket.js";
import { isActive, newTask } from "./client/task_state.js";
import { detailOf, Tasks } from "./client/tasks.js";

/** @import { ClientOptions, Decision, TaskEvent, TaskState } from "./client/types.d.ts" */

export { ApiError, Run };

const RETRY_SECONDS = { default: 1, max: 60 };

export class AilyClient {
  #api;
  #socket;
  #tasks;
  #giveUpMs;
  #isConnecting = false;
  /** @type {Map<string, Task>} */
  #followed = new Map();
  #giveUpTimer = 0;

  /** @param {ClientOptions} [options] */
  constructor({ url = globalThis.location?.origin, key, giveUpSeconds = 300 } = {}) {
    if (!url) throw new ApiError({ code: "usage", message: "give the url of the installation" });
    const base = url.replace(/\/+$/, "");
    this.#api = new Api(`${base}/api`, () => headersOf(key));
    this.#socket = new Socket(`${base.replace(/^http/, "ws")}/ws/llmchat/`, key);
    this.#tasks = new Tasks(this.#socket, (method, path, body) => this.request(method, path, body));
    this.#giveUpMs = giveUpSeconds * 1000;
    /** Many requests as one thing. */
    this.runs = new Runs(this.#api, this.#socket, {
      connect: () => this.#connect(),
      retry: (send) => this.#retry(send),
    });
    this.#tasks.addEventListener("change", (event) => this.#update(detailOf(event), false));
    this.#tasks.addEventListener("ended", (event) => this.#update(detailOf(event), true));
    this.#tasks.addEventListener("lost", (event) => this.#lose(detailOf(event)));
    this.#socket.addEventListener("state", () => this.#watchConnection());
    this.#socket.addEventListener("unauthenticated", () => {
      this.#fail(new ApiError({ code: "unauthenticated", status: 401 }));
    });
  }

  /**
   * Submit a task. It is sent again after a lost connection, and where the server has no room for it
   * now; its idempotency key makes that safe.
   *
   * @param {object} fields of `task.submit`: a scene with variables, or messages; model, lane, ...
   * @returns {Promise<Task>} once the server has stored it: from then on it is never lost
   * @throws {ApiError} when the server refuses it
   */
  async submit(fields) {
    this.#connect();
    return this.#handle(await this.#retry(() => this.#tasks.submit(fields)));
  }

  /**
   * Follow a task that was submitted before, by whatever way.
   *
   * @param {string} taskId
   * @returns {Task}
   */
  follow(taskId) {
    this.#connect();
    const task = this.#handle(newTask(taskId));
    this.#tasks.follow(task.state);
    return task;
  }

  /**
   * Call the REST interface.
   *
   * @param {string} method @param {string} path below /api, such as "/llmchat/tasks"
   * @param {object} [body]
   * @returns {Promise<any>}
   * @throws {ApiError}
   */
  request(method, path, body) {
    return this.#api.request(method, path, { body });
  }

  /** End the connection. Tasks and runs go on; what waits for them here fails. */
  close() {
    this.#fail(new ApiError({ code: "closed" }));
    this.#socket.close();
  }

  /**
   * Send what is harmless to send twice until it is answered, or refused for good.
   *
   * @template T @param {() => Promise<T>} send @returns {Promise<T>} @throws {ApiError}
   */
  async #retry(send) {
    const until = Date.now() + this.#giveUpMs;
    for (;;) {
      try {
        return await send();
      } catch (error) {
        const waitMs = retryAfterMs(error);
        if (waitMs === null || Date.now() + waitMs > until) throw error;
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
    }
  }

  #connect() {
    if (this.#isConnecting && this.#socket.state !== "closed") return;
    this.#isConnecting = true;
    this.#socket.connect();
  }

  /** @param {TaskState} state @returns {Task} */
  #handle(state) {
    const known = this.#followed.get(state.id);
    if (known) return known;
    const task = new Task(state, {
      cancel: () => this.#tasks.cancel(state.id),
      decide: (callId, decision) => this.#tasks.decide(state.id, callId, decision),
      leave: () => {
        this.#followed.delete(state.id);
        this.#tasks.unfollow(state.id);
      },
    });
    this.#followed.set(state.id, task);
    return task;
  }

  /** @param {TaskState} state @param {boolean} isEnd */
  #update(state, isEnd) {
    const task = this.#followed.get(state.id);
    if (!task) return;
    task.update(state, isEnd);
    if (!isEnd) return;
    this.#followed.delete(state.id);
    this.#tasks.unfollow(state.id);
  }

  /** @param {{taskId: string, error: ApiError}} lost */
  #lose({ taskId, error }) {
    this.#followed.get(taskId)?.fail(error);
    this.#followed.delete(taskId);
    this.#tasks.unfollow(taskId);
  }

  #watchConnection() {
    if (this.#socket.state === "open") {
      clearTimeout(this.#giveUpTimer);
      this.#giveUpTimer = 0;
    } else if (!this.#giveUpTimer && this.#socket.state !== "closed") {
      this.#giveUpTimer = setTimeout(() => {
        this.#giveUpTimer = 0;
        this.#fail(new ApiError({ code: "unreachable" }));
        this.#socket.close();
      }, this.#giveUpMs);
    }
  }

  /** @param {ApiError} error */
  #fail(error) {
    clearTimeout(this.#giveUpTimer);
    this.#giveUpTimer = 0;
    this.#tasks.rejectPending(error);
    this.runs.fail(error);
    for (const [taskId, task] of this.#followed) {
      task.fail(error);
      this.#tasks.unfollow(taskId);
    }
    this.#followed.clear();
  }
}

/** A task that is followed to its end. Iterating over it gives its events from then on. */
export class Task {
  /** Its state: text so far, status, place in the queue. @type {TaskState} */
  state;
  #actions;
  /** @type {Set<(event: TaskEvent|null, error?: ApiError) => void>} */
  #listeners = new Set();
  /** @type {Promise<TaskState>} */
  #ended;
  /** @type {(state: TaskState) => void} */
  #resolve = () => {};
  /** @type {(error: ApiError) => void} */
  #reject = () => {};
  #isOver = false;

  /**
   * Made by `AilyClient`.
   *
   * @param {TaskState} state
   * @param {object} actions
   * @param {() => Promise<void>} actions.cancel
   * @param {(callId: string, decision: Decision) => Promise<void>} actions.decide
   * @param {() => void} actions.leave
   */
  constructor(state, actions) {
    this.state = state;
    this.#actions = actions;
    this.#ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Nobody may ask for it.
    this.#ended.catch(() => {});
  }

  get id() {
    return this.state.id;
  }

  /**
   * @returns {Promise<TaskState>} of a task that succeeded
   * @throws {ApiError} with the code of what ended it otherwise: its error's, "cancelled" or "expired"
   */
  async result() {
    const { status, error } = await this.#ended;
    if (status === "succeeded") return this.state;
    throw new ApiError(error ?? { code: status });
  }

  /** Stop it for good; what it has answered so far is kept. @returns {Promise<void>} */
  cancel() {
    return this.#actions.cancel();
  }

  /**
   * Approve a call of `state.calls` that is in the state requires_action, also with other arguments,
   * or reject it with a reason that is sent to the model.
   *
   * @param {string} callId @param {Decision} decision @returns {Promise<void>}
   * @throws {ApiError} where it was decided already, or the arguments do not fit the tool's schema
   */
  decide(callId, decision) {
    return this.#actions.decide(callId, decision);
  }

  /** Follow it no more; it runs on. */
  leave() {
    this.#actions.leave();
    this.fail(new ApiError({ code: "closed" }));
  }

  /** @returns {AsyncGenerator<TaskEvent>} throws ApiError where the connection is given up */
  async *[Symbol.asyncIterator]() {
    /** @type {TaskEvent[]} */
    const waiting = [];
    /** @type {ApiError|undefined} */
    let failure;
    let isOver = this.#isOver;
    let wake = () => {};
    /** @param {TaskEvent|null} event @param {ApiError} [error] */
    const listen = (event, error) => {
      if (event) merge(waiting, event);
      isOver = !event || event.type === "ended";
      failure = error;
      wake();
    };
    this.#listeners.add(listen);
    try {
      if (isOver) await this.#ended.then((task) => waiting.push({ type: "ended", task }));
      for (;;) {
        const event = waiting.shift();
        if (event) yield event;
        else if (failure) throw failure;
        else if (isOver) return;
        else await new Promise((resolve) => (wake = () => resolve(undefined)));
      }
    } finally {
      this.#listeners.delete(listen);
    }
  }

  /** For `AilyClient`. @param {TaskState} state @param {boolean} isEnd */
  update(state, isEnd) {
    const before = this.state;
    this.state = state;
    if (this.#isOver) return;
    if (isEnd) {
      this.#isOver = true;
      this.#resolve(state);
      this.#publish({ type: "ended", task: state });
    } else if (isActive(state)) {
      this.#publish(eventBetween(before, state));
    }
  }

  /** For `AilyClient`. @param {ApiError} error */
  fail(error) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#reject(error);
    for (const listen of this.#listeners) listen(null, error);
  }

  /** @param {TaskEvent} event */
  #publish(event) {
    for (const listen of this.#listeners) listen(event);
  }
}

/** @param {TaskState} before @param {TaskState} task @returns {TaskEvent} */
function eventBetween(before, task) {
  if (task.status === "queued") return { type: "queued", task };
  if (task.calls !== before.calls) return { type: "tools", task };
  const isNewAttempt = task.attempt !== before.attempt;
  if (isNewAttempt && !task.text) return { type: "started", task };
  const isLonger = !isNewAttempt && task.text.startsWith(before.text);
  return { type: "text", task, added: isLonger ? task.text.slice(before.text.length) : null };
}

/**
 * Add an event to those that wait: of texts that a slow reader has not taken yet, only one waits.
 *
 * @param {TaskEvent[]} waiting @param {TaskEvent} event
 */
function merge(waiting, event) {
  const last = waiting.at(-1);
  if (last?.type === "text" && event.type === "text") {
    const isWhole = last.added === null || event.added === null;
    waiting[waiting.length - 1] = {
      ...event,
      added: isWhole ? null : last.added + /** @type {string} */ (event.added),
    };
  } else {
    waiting.push(event);
  }
}

/** @param {string} [key] @returns {Record<string, string>} */
function headersOf(key) {
  if (key) return { Authorization: `Bearer ${key}` };
  const token = globalThis.document?.cookie.match(/(?:^|;\s*)csrftoken=([^;]+)/)?.[1];
  return token ? { "X-CSRFToken": token } : {};
}

/** @param {unknown} error @returns {number|null} null: sending it again would change nothing */
function retryAfterMs(error) {
  if (!(error instanceof ApiError)) return null;
  if (error.retryAfterSeconds === undefined && error.code !== "network") return null;
  const seconds = Math.max(error.retryAfterSeconds ?? 0, RETRY_SECONDS.default);
  // Varies: thousands of clients must not come back in the same moment.
  return Math.min(seconds, RETRY_SECONDS.max) * 1000 * (1 + Math.random() / 4);
}
