/** One conversation: its messages and the tasks that answered in it, the newest pages of both. */

import { request } from "../net/api.js";
import { newestBy, PagedCollection } from "./paged.js";

/**
 * @import { TaskRow } from "../client/types.d.ts"
 * @import { Message } from "./types.d.ts"
 */

export class History {
  /** @type {PagedCollection<Message>} */
  #messages;
  /** @type {PagedCollection<TaskRow>} */
  #tasks;

  /** @param {string} conversationId */
  constructor(conversationId) {
    const messages = `/conversations/${conversationId}/messages?ordering=-created_at`;
    const tasks = `/llmchat/tasks?conversation_id=${conversationId}`;
    this.#messages = new PagedCollection({
      read: (limit, offset) => request("GET", `${messages}&limit=${limit}&offset=${offset}`),
      keyOf: ({ id }) => id,
      compare: newestBy("id"),
    });
    this.#tasks = new PagedCollection({
      read: (limit, offset) => request("GET", `${tasks}&limit=${limit}&offset=${offset}`),
      keyOf: ({ task_id }) => task_id,
      compare: newestBy("task_id"),
    });
  }

  /** @returns {Message[]} oldest first */
  get messages() {
    return this.#messages.items.toReversed();
  }

  /** @returns {TaskRow[]} newest first */
  get tasks() {
    return this.#tasks.items;
  }

  get hasOlder() {
    return this.#messages.hasMore;
  }

  /** Read the newest page, again if need be. */
  async loadNewest() {
    await Promise.all([this.#messages.loadFirst(), this.#tasks.loadFirst()]);
    await this.#loadTasksOfMessages();
  }

  async loadOlder() {
    await this.#messages.loadMore();
    await this.#loadTasksOfMessages();
  }

  /** Ids of both begin with the time at which they were made. */
  async #loadTasksOfMessages() {
    const oldest = this.#messages.items.at(-1);
    while (oldest && this.#tasks.hasMore && (this.#tasks.items.at(-1)?.task_id ?? "") > oldest.id) {
      await this.#tasks.loadMore();
    }
  }

  /**
   * A task was accepted with this question; the stored message will take its place when messages
   * are read again.
   *
   * @param {string} taskId @param {string} content @param {string|null} replaces a task whose
   *   question and answer have left the conversation
   */
  accept(taskId, content, replaces) {
    for (const { id, task_id } of this.#messages.items) {
      if (replaces && task_id === replaces) this.#messages.remove(id);
    }
    this.#messages.upsert({ id: taskId, role: "user", content, task_id: taskId });
  }
}
