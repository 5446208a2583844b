/** A version that is tried: its answer, streamed through the ordinary queue. */

import { isActive } from "../../client/task_state.js";
import { detailOf } from "../../client/tasks.js";
import { FrameQueue } from "../../ui/frames.js";
import { Answer } from "../chat/answer.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { TaskState } from "../../client/types.d.ts"
 */

export class Trial {
  element;
  #app;
  #answer;
  #frames = new FrameQueue();
  /** @type {string|null} */
  #taskId = null;
  #isDisposed = false;
  #onChange;
  #update = (/** @type {Event} */ event) => this.#show(detailOf(event));

  /** @param {App} app @param {{onChange: () => void, onRetry: () => void}} callbacks */
  constructor(app, { onChange, onRetry }) {
    this.#app = app;
    this.#onChange = onChange;
    const { simulatedModels } = app;
    this.#answer = new Answer({
      simulatedModels,
      frames: this.#frames,
      decide: (taskId, callId, decision) => app.store.tasks.decide(taskId, callId, decision),
      onRetry,
      onRendered: () => {},
    });
    this.element = this.#answer.element;
    app.store.tasks.addEventListener("change", this.#update);
  }

  /** @param {object} fields of the submit */
  async start(fields) {
    const { tasks } = this.#app.store;
    const task = await tasks.submit(fields);
    this.#taskId = task.id;
    if (this.#isDisposed) tasks.unfollow(task.id);
    else this.#show(tasks.get(task.id) ?? task);
  }

  get isActive() {
    const task = this.#taskId && this.#app.store.tasks.get(this.#taskId);
    return !this.#isDisposed && (!task || isActive(task));
  }

  async stop() {
    if (this.#taskId) await this.#app.store.tasks.cancel(this.#taskId);
  }

  /** @param {TaskState} task */
  #show(task) {
    if (task.id !== this.#taskId) return;
    this.#answer.show(task);
    this.#onChange();
  }

  dispose() {
    this.#isDisposed = true;
    this.#answer.dispose();
    this.#app.store.tasks.removeEventListener("change", this.#update);
    if (this.#taskId) this.#app.store.tasks.unfollow(this.#taskId);
  }
}
