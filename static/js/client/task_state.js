/**
 * Turns a task's frames into its text, pure and in order: repeated events change nothing, a hole
 * is reported instead of being glued over, and a new attempt starts its own text.
 */

/**
 * @import { Frame, Status, TaskState } from "./types.d.ts"
 * @typedef {{attempt: number, n: number}} EventId
 * @typedef {"applied"|"ignored"|"gap"} Outcome `gap`: events before this one are missing, so the
 *   state is unchanged and must be read again after its cursor
 * @typedef {{task: TaskState, outcome: Outcome}} Reduced a new state when applied, else the same
 */

import { withCall, withCalls, withoutOpen } from "./tool_calls.js";

/** @type {Record<string, Status>} */
const TERMINAL = {
  "task.completed": "succeeded",
  "task.failed": "failed",
  "task.cancelled": "cancelled",
  "task.expired": "expired",
};
const ENDED = new Set(Object.values(TERMINAL));
/** The states of a call by the event that says so, where it names none itself. */
const CALL_EVENTS = {
  "task.tool_call": "running",
  "task.requires_action": "requires_action",
  "task.tool_result": "succeeded",
};

/** @param {string} id @returns {TaskState} of a task of which nothing has happened yet */
export function newTask(id) {
  return {
    id,
    scene: null,
    status: "queued",
    cursor: null,
    attempt: 0,
    text: "",
    inPieces: false,
    isCut: false,
    reasoning: "",
    toolCalls: [],
    calls: [],
    model: "",
    position: null,
    etaSeconds: null,
    error: null,
    usage: {},
    finishReason: null,
    historyFrom: null,
  };
}

/** @param {string|null} value such as "2-17"; null is the place before every event @returns {EventId} */
export function parseEventId(value) {
  const [attempt, n] = (value ?? "0-0").split("-").map(Number);
  return { attempt, n };
}

/** @param {string|null} a @param {string|null} b @returns {number} below 0 when a is before b */
export function compareEventIds(a, b) {
  const left = parseEventId(a);
  const right = parseEventId(b);
  return left.attempt - right.attempt || left.n - right.n;
}

/** @param {string} id @param {string|null} cursor @returns {boolean} no event can lie between */
export function follows(id, cursor) {
  const event = parseEventId(id);
  const last = parseEventId(cursor);
  return event.attempt === last.attempt
    ? event.n === last.n + 1
    : event.attempt > last.attempt && event.n === 1;
}

/** @param {TaskState} task @returns {boolean} */
export function isActive(task) {
  return !ENDED.has(task.status);
}

/**
 * Apply one frame about `task`.
 *
 * @param {TaskState} task
 * @param {Frame} frame as it came over the socket
 * @returns {Reduced}
 */
export function reduce(task, frame) {
  if (!isActive(task)) return { task, outcome: "ignored" };
  if (frame.type === "task.accepted" || frame.type === "task.queued") return queued(task, frame);
  if (frame.id === undefined) return piece(task, frame);
  if (compareEventIds(frame.id, task.cursor) <= 0) return { task, outcome: "ignored" };
  if (frame.type in TERMINAL) return applied(task, frame, finished(task, frame));
  if (frame.type === "task.snapshot") {
    const texts = { text: frame.text, reasoning: frame.reasoning, inPieces: false };
    return applied(task, frame, { ...texts, calls: withCalls(task.calls, frame.tool_calls ?? []) });
  }
  // The last piece of a snapshot completes it: no event before it is missing.
  if (task.inPieces && frame.type === "task.delta") {
    return applied(task, frame, { ...added(task, frame), inPieces: false });
  }
  if (!follows(frame.id, task.cursor)) return { task, outcome: "gap" };
  if (frame.type === "task.started") return applied(task, frame, started(frame));
  if (frame.type in CALL_EVENTS) return applied(task, frame, called(task, frame));
  return applied(task, frame, added(task, frame));
}

/** @param {TaskState} task @param {Frame} frame @returns {Partial<TaskState>} */
function called(task, frame) {
  const type = /** @type {keyof typeof CALL_EVENTS} */ (frame.type);
  const state = frame.state ?? (frame.is_error ? "failed" : CALL_EVENTS[type]);
  const calls = withCall(task.calls, /** @type {any} */ ({ ...frame, state }));
  const isAsking = calls.some((call) => call.state === "requires_action");
  return { calls, status: isAsking ? "requires_action" : "calling_tools" };
}

/** @param {TaskState} task @param {Frame} frame */
function added(task, frame) {
  return { text: task.text + frame.text, reasoning: task.reasoning + frame.reasoning };
}

/**
 * Part of a snapshot that is too large for one frame; without an id, the cursor stays.
 *
 * @param {TaskState} task @param {Frame} frame @returns {Reduced}
 */
function piece(task, frame) {
  if (frame.type === "task.snapshot") {
    const begun = { text: frame.text, reasoning: frame.reasoning, inPieces: true };
    return { task: { ...task, ...begun }, outcome: "applied" };
  }
  if (frame.type !== "task.delta" || !task.inPieces) return { task, outcome: "ignored" };
  return { task: { ...task, ...added(task, frame) }, outcome: "applied" };
}

/**
 * @param {TaskState} task @param {Frame} frame @param {Partial<TaskState>} changes
 * @returns {Reduced}
 */
function applied(task, frame, changes) {
  const cursor = frame.id ?? null;
  const { attempt } = parseEventId(cursor);
  return {
    task: { ...task, status: "running", cursor, attempt, ...changes },
    outcome: "applied",
  };
}

/** @param {TaskState} task @param {Frame} frame @returns {Reduced} */
function queued(task, frame) {
  const place = { position: frame.position, etaSeconds: frame.eta_seconds };
  // The acceptance may arrive after the first events: it must not set the task back.
  const status = frame.type === "task.queued" ? "queued" : task.status;
  return { task: { ...task, ...place, status }, outcome: "applied" };
}

/** @param {Frame} frame @returns {Partial<TaskState>} */
function started(frame) {
  return { text: "", reasoning: "", model: frame.model, position: null, etaSeconds: null };
}

/**
 * The end of a task that succeeded brings the whole text, so nothing before it can be missed; but
 * for a text that is too large for one frame.
 *
 * @param {TaskState} task @param {Frame} frame @returns {Partial<TaskState>}
 */
function finished(task, frame) {
  const changes = { status: TERMINAL[frame.type], calls: withoutOpen(task.calls) };
  if (frame.type === "task.failed") return { ...changes, error: frame.error };
  if (frame.type !== "task.completed") return changes;
  return {
    ...changes,
    text: frame.result.text ?? task.text,
    reasoning: frame.result.reasoning ?? (frame.is_truncated ? task.reasoning : ""),
    toolCalls: frame.result.tool_calls ?? [],
    isCut: frame.is_truncated === true,
    finishReason: frame.result.finish_reason,
    usage: frame.usage,
  };
}
