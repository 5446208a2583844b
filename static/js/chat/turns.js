/** The turns of a conversation, put together from its stored messages and its tasks. Pure. */

import { newTask } from "./reducer.js";

/**
 * @typedef {object} Turn
 * @property {string} key
 * @property {"question"|"answer"} role
 * @property {string} [content] of a question
 * @property {import("./reducer.js").TaskState|null} [task] of an answer; null until accepted
 */

/**
 * A question whose answer is not stored (running, failed) is followed by its task all the same.
 *
 * @param {{id: string, role: string, content: string, task_id: string|null}[]} messages in order
 * @param {Map<string, import("./reducer.js").TaskState>} tasks by id
 * @returns {Turn[]}
 */
export function buildTurns(messages, tasks) {
  const isAnswer = ({ role }) => role === "assistant";
  const answered = new Set(messages.filter(isAnswer).map((message) => message.task_id));
  return messages.flatMap((message) => {
    if (isAnswer(message)) return [answerTurn(storedAnswer(message, tasks))];
    if (message.role !== "user") return [];
    const task = tasks.get(message.task_id);
    return task && !answered.has(task.id)
      ? questionAndAnswer(message.content, task)
      : [question(message)];
  });
}

/** @param {string} content @param {import("./reducer.js").TaskState|null} task @returns {Turn[]} */
export function questionAndAnswer(content, task) {
  return [question({ id: "pending", content, task_id: task?.id }), answerTurn(task)];
}

function question({ id, content, task_id }) {
  return { key: `question-${task_id ?? id}`, role: "question", content };
}

function answerTurn(task) {
  return { key: `answer-${task?.id ?? "pending"}`, role: "answer", task };
}

function storedAnswer(message, tasks) {
  const known = tasks.get(message.task_id);
  return known
    ? { ...known, text: message.content }
    : { ...newTask(message.id), status: "succeeded", text: message.content };
}
