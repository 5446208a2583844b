/** The calls of tools that aily makes for a task. Pure. */

/** @import { CallOfTool, CallRow, InputQuestion } from "./types.d.ts" */

/** @param {CallOfTool} call @returns {boolean} nothing more happens to it */
function hasEnded({ state }) {
  return !["queued", "running", "requires_action"].includes(state);
}

/**
 * @param {CallOfTool[]} calls
 * @param {CallRow} row what is said of one of them, or of a new one
 * @returns {CallOfTool[]} a new list
 */
export function withCall(calls, row) {
  const index = calls.findIndex(({ id }) => id === row.call_id);
  const next = merged(calls[index] ?? newCall(row.call_id), row);
  return index < 0 ? [...calls, next] : calls.with(index, next);
}

/** @param {CallOfTool[]} calls @param {CallRow[]} rows @returns {CallOfTool[]} */
export function withCalls(calls, rows) {
  return rows.reduce(withCall, calls);
}

/** Those of a task that has ended. @param {CallOfTool[]} calls @returns {CallOfTool[]} */
export function withoutOpen(calls) {
  return calls.map((call) => hasEnded(call) ? call : { ...call, state: "cancelled" });
}

/** @param {string} id @returns {CallOfTool} */
function newCall(id) {
  return {
    id,
    step: 1,
    tool: "",
    server: "",
    arguments: "{}",
    isCut: false,
    state: "queued",
    text: null,
    durationSeconds: null,
    deadline: null,
    reason: "",
    input: null,
  };
}

/** What a row leaves out stays as it was. @param {CallOfTool} call @param {CallRow} row @returns {CallOfTool} */
function merged(call, row) {
  return {
    id: call.id,
    step: row.step ?? call.step,
    tool: row.tool ?? call.tool,
    server: row.server ?? call.server,
    arguments: row.edited_arguments ?? row.arguments ?? call.arguments,
    isCut: row.arguments === undefined ? call.isCut : row.is_truncated === true,
    state: row.state ?? call.state,
    text: row.text || call.text,
    durationSeconds: row.duration_seconds ?? call.durationSeconds,
    deadline: row.deadline ?? call.deadline,
    reason: row.reason || call.reason,
    input: questionOf(row) ?? call.input,
  };
}

/** @param {CallRow} row of the server, or an event @returns {InputQuestion|null} */
function questionOf({ input, kind, question, message, schema }) {
  if (input) return input;
  if (kind !== "input" || !question || !schema) return null;
  return { question, message: message ?? "", schema };
}
