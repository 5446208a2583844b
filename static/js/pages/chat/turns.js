/** The turns of a conversation, put together from its stored messages and its tasks. Pure. */

import { t } from "../../i18n/i18n.js";
import { newTask } from "../../client/task_state.js";

/**
 * @import { TaskState } from "../../client/types.d.ts"
 * @import { Message } from "../../store/types.d.ts"
 *
 * @typedef {object} Turn
 * @property {string} key
 * @property {"question"|"answer"|"cut"} role
 * @property {string} [content] of a question
 * @property {string} [since] of a question: its id, or its task's, which is made right after it;
 *   undefined until it is accepted
 * @property {TaskState|null} [task] of an answer; null until accepted
 */

/**
 * An answer comes after its own question, whenever it was stored. A question whose answer is not
 * stored (running, failed) is followed by its task all the same.
 *
 * @param {Message[]} messages in order
 * @param {Map<string, TaskState>} tasks by id
 * @returns {Turn[]}
 */
export function buildTurns(messages, tasks) {
  const asked = idsOf(messages, "user");
  const answers = Map.groupBy(
    messages.filter(({ role }) => role === "assistant"),
    ({ task_id }) => task_id,
  );
  return messages.flatMap((message) => {
    const { role, task_id } = message;
    if (role === "assistant") {
      return asked.has(task_id) ? [] : [answerTurn(storedAnswer(message, tasks))];
    }
    if (role !== "user") return [];
    const own = task_id === null ? undefined : answers.get(task_id);
    if (own) {
      return [question(message), ...own.map((answer) => answerTurn(storedAnswer(answer, tasks)))];
    }
    const task = tasks.get(task_id ?? "");
    return task ? [question(message), answerTurn(task)] : [question(message)];
  });
}

/** @param {Message[]} messages @param {string} wanted @returns {Set<string|null>} without null */
function idsOf(messages, wanted) {
  const ids = messages.filter(({ role }) => role === wanted).map(({ task_id }) => task_id);
  return new Set(ids.filter((id) => id !== null));
}

/** @param {string} content @param {TaskState|null} task @returns {Turn[]} */
export function questionAndAnswer(content, task) {
  return [question({ content, task_id: task?.id ?? null }), answerTurn(task)];
}

/**
 * With a line before the first question that the model was sent last, where older ones were not.
 *
 * @param {Turn[]} turns
 * @returns {Turn[]}
 */
export function withCut(turns) {
  // Ids begin with the time.
  const [latest] = turns.flatMap(({ task }) => task ?? []).sort((a, b) => (a.id < b.id ? 1 : -1));
  const from = latest?.historyFrom;
  if (!from) return turns;
  const index = turns.findIndex(({ role, since }) =>
    role === "question" && (since === undefined || since >= from)
  );
  if (index < 1) return turns;
  return [...turns.slice(0, index), { key: "cut", role: "cut" }, ...turns.slice(index)];
}

/**
 * Without the question that a task was asked, and its answer.
 *
 * @param {Turn[]} turns @param {string} taskId @returns {Turn[]}
 */
export function withoutTask(turns, taskId) {
  const answer = turns.findIndex(({ role, task }) => role === "answer" && task?.id === taskId);
  if (answer < 0) return turns;
  const asked = turns.slice(0, answer).findLastIndex(({ role }) => role === "question");
  return turns.filter((_, index) => index !== answer && index !== asked);
}

/** @param {{id?: string, content: string, task_id: string|null}} message @returns {Turn} */
function question({ id, content, task_id }) {
  const key = `question-${task_id ?? id ?? "pending"}`;
  return { key, role: "question", content, since: id ?? task_id ?? undefined };
}

/** @param {TaskState|null} task @returns {Turn} */
function answerTurn(task) {
  return { key: `answer-${task?.id ?? "pending"}`, role: "answer", task };
}

/** @param {Message} message @param {Map<string, TaskState>} tasks @returns {TaskState} */
function storedAnswer(message, tasks) {
  const text = message.content || toolCalls(message);
  const known = tasks.get(message.task_id ?? "");
  return known ? { ...known, text } : { ...newTask(message.id), status: "succeeded", text };
}

/** What an answer of a program's conversation asks to be called. @param {Message} message */
function toolCalls({ tool_calls }) {
  const names = (tool_calls ?? []).map((call) => call.function?.name ?? "");
  return names.map((name) => t("answer.tool_call", { name })).join("\n\n");
}
