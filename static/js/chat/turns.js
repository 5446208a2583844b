/** The turns of a conversation, put together from its stored messages and its tasks. Pure. */

import { newTask } from "./reducer.js";

/**
 * @typedef {object} Turn
 * @property {string} key
 * @property {"question"|"answer"|"cut"} role
 * @property {string} [content] of a question
 * @property {string} [since] of a question: its id, or its task's, which is made right after it;
 *   undefined until it is accepted
 * @property {import("./reducer.js").TaskState|null} [task] of an answer; null until accepted
 */

/**
 * An answer stands behind its own question, whenever it was stored. A question whose answer is not
 * stored (running, failed) is followed by its task all the same.
 *
 * @param {{id: string, role: string, content: string, task_id: string|null,
 *   tool_calls?: object[]|null}[]} messages in order
 * @param {Map<string, import("./reducer.js").TaskState>} tasks by id
 * @returns {Turn[]}
 */
export function buildTurns(messages, tasks) {
  const asked = new Set(idsOf(messages, "user"));
  const answered = new Set(idsOf(messages, "assistant"));
  const answersTo = (id) =>
    messages.filter(({ role, task_id }) => role === "assistant" && task_id === id);
  return messages.flatMap((message) => {
    const { role, task_id } = message;
    if (role === "assistant") {
      return asked.has(task_id) ? [] : [answerTurn(storedAnswer(message, tasks))];
    }
    if (role !== "user") return [];
    if (answered.has(task_id)) {
      const answers = answersTo(task_id).map((answer) => storedAnswer(answer, tasks));
      return [question(message), ...answers.map(answerTurn)];
    }
    const task = tasks.get(task_id);
    return task ? [question(message), answerTurn(task)] : [question(message)];
  });
}

function idsOf(messages, wanted) {
  const ids = messages.filter(({ role }) => role === wanted).map(({ task_id }) => task_id);
  return ids.filter((id) => id !== null);
}

/** @param {string} content @param {import("./reducer.js").TaskState|null} task @returns {Turn[]} */
export function questionAndAnswer(content, task) {
  return [question({ content, task_id: task?.id }), answerTurn(task)];
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
  const isSent = ({ role, since }) =>
    role === "question" && (since === undefined || since >= from);
  const index = turns.findIndex(isSent);
  if (index < 1) return turns;
  return [...turns.slice(0, index), { key: "cut", role: "cut" }, ...turns.slice(index)];
}

/** Without the question that a task was asked, and its answer. */
export function withoutTask(turns, taskId) {
  const answer = turns.findIndex(({ role, task }) => role === "answer" && task?.id === taskId);
  if (answer < 0) return turns;
  const asked = turns.slice(0, answer).findLastIndex(({ role }) => role === "question");
  return turns.filter((turn, index) => index !== answer && index !== asked);
}

function question({ id, content, task_id }) {
  const key = `question-${task_id ?? id ?? "pending"}`;
  return { key, role: "question", content, since: id ?? task_id };
}

function answerTurn(task) {
  return { key: `answer-${task?.id ?? "pending"}`, role: "answer", task };
}

function storedAnswer(message, tasks) {
  const text = message.content || callsOf(message);
  const known = tasks.get(message.task_id);
  return known ? { ...known, text } : { ...newTask(message.id), status: "succeeded", text };
}

/** What an answer of a program's conversation asks to be called. */
function callsOf({ tool_calls }) {
  return (tool_calls ?? []).map((call) => `Calls \`${call.function?.name}\`.`).join("\n\n");
}
