/** The user's conversations, newest first, as far as they were listed. */

import { request } from "../net/api.js";
import { newestBy, PagedCollection } from "./paged.js";

/** @import { Conversation } from "./types.d.ts" */

const PAGE = 50;

/** @extends {PagedCollection<Conversation>} */
export class Conversations extends PagedCollection {
  constructor() {
    super({
      pageSize: PAGE,
      keyOf: ({ id }) => id,
      compare: newestBy("updated_at"),
      read: (limit, offset) => request("GET", `/conversations?limit=${limit}&offset=${offset}`),
    });
  }

  /**
   * @param {string} [title] without one, it is named after its first question
   * @returns {Promise<Conversation>}
   */
  async create(title = "") {
    const conversation = await request("POST", "/conversations", { title });
    this.upsert(conversation);
    return conversation;
  }

  /** Read one again, as a task of it began or ended. @param {string} id */
  async reload(id) {
    this.upsert(await request("GET", `/conversations/${id}`));
  }

  /** @param {string} id @param {string} title */
  async rename(id, title) {
    this.upsert(await request("PATCH", `/conversations/${id}`, { title }));
  }

  /** @param {string} id */
  async delete(id) {
    await request("DELETE", `/conversations/${id}`);
    this.remove(id);
  }
}
