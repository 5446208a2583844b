/** The user's tasks that wait for a decision on a call of a tool, the newest first. */

import { request } from "../net/api.js";

/** @import { TaskRow } from "../client/types.d.ts" */

const PAGE = 100;

/** Events: `change`, when the list has. */
export class WaitingTasks extends EventTarget {
  /** @type {TaskRow[]} the first page */
  items = [];
  /** Of all pages. */
  count = 0;
  /** The reading that goes on, or was the last. */
  #reading = {};

  async load() {
    const reading = {};
    this.#reading = reading;
    const page = await request("GET", `/llmchat/tasks?status=requires_action&limit=${PAGE}`);
    // A later one is newer.
    if (this.#reading !== reading) return;
    this.items = page.items;
    this.count = page.count;
    this.dispatchEvent(new Event("change"));
  }

  /** @param {string} taskId */
  has(taskId) {
    return this.items.some(({ task_id }) => task_id === taskId);
  }
}
