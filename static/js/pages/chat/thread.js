/** The turns of a conversation on the page. A turn's view is kept as long as the turn is there. */

import { t } from "../../i18n/i18n.js";
import { html, repeat } from "../../lit.js";
import { FrameQueue } from "../../ui/frames.js";
import { Answer } from "./answer.js";
import { createQuestion } from "./question.js";
import { withCut } from "./turns.js";

/**
 * @import { Decision, TaskState } from "../../client/types.d.ts"
 * @import { Turn } from "./turns.js"
 *
 * @typedef {object} Options
 * @property {Set<string>} simulatedModels
 * @property {(taskId: string, callId: string, decision: Decision) => Promise<void>} decide
 * @property {(key: string) => void} onRetry the answer of this turn is asked for again
 * @property {() => void} onRendered after each change of what is seen
 */

export class Thread {
  /** @type {Map<string, Answer>} by the key of the turn */
  #answers = new Map();
  /** @type {Map<string, HTMLElement>} by the key of the turn */
  #questions = new Map();
  #frames = new FrameQueue();
  #options;

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
  }

  /**
   * Show what an event has changed; its cost does not depend on the number of turns.
   *
   * @param {TaskState} task
   */
  update(task) {
    this.#answers.get(`answer-${task.id}`)?.show(task);
  }

  /** @param {Turn[]} turns */
  template(turns) {
    this.#forgetOthers(new Set(turns.map(({ key }) => key)));
    // The newest first, as they are seen first.
    for (const turn of turns.toReversed()) this.#createView(turn);
    const items = repeat(withCut(turns), ({ key }) => key, (turn) => this.#view(turn));
    return html`<div class="turns">${items}</div>`;
  }

  dispose() {
    this.#forgetOthers(new Set());
  }

  /** @param {Set<string>} keys of the turns that are there */
  #forgetOthers(keys) {
    for (const [key, answer] of this.#answers) {
      if (keys.has(key)) continue;
      answer.dispose();
      this.#answers.delete(key);
    }
    for (const key of this.#questions.keys()) if (!keys.has(key)) this.#questions.delete(key);
  }

  /** @param {Turn} turn */
  #createView({ key, role, content = "", task = null }) {
    if (role === "answer") {
      const answer = this.#answers.get(key) ?? this.#createAnswer(key);
      answer.show(task);
    } else if (!this.#questions.has(key)) {
      const question = createQuestion(content);
      question.dataset.key = key;
      this.#questions.set(key, question);
    }
  }

  /** @param {string} key */
  #createAnswer(key) {
    const { simulatedModels, decide, onRetry, onRendered } = this.#options;
    const answer = new Answer({
      simulatedModels,
      frames: this.#frames,
      decide,
      onRetry: () => onRetry(key),
      onRendered,
    });
    answer.element.dataset.key = key;
    this.#answers.set(key, answer);
    return answer;
  }

  /** @param {Turn} turn */
  #view({ key, role }) {
    if (role === "answer") return this.#answers.get(key)?.element;
    if (role === "question") return this.#questions.get(key);
    return html`<p class="history-cut muted" role="note">${t("chat.cut")}</p>`;
  }
}
