/** The user's conversations, newest first, as far as they were listed. */

import { request } from "../net/api.js";
import { newestBy, PagedCollection } from "./paged.js";

/** @import { Conversation } from "./types.d.ts" */

const PAGE = 50;

/** @extends {PagedCollection<Conversation>} */
export class Conversations extends PagedCollection {
  /** @type {Set<string>} ids of those whose answer has ended since they were looked at */
  #unread = new Set();
  /** @type {Set<string>} ids of those that were seen answering */
  #answering = new Set();
  /** The one that is looked at. */
  #openId = "";

  constructor() {
    super({
      pageSize: PAGE,
      keyOf: ({ id }) => id,
      compare: newestBy("updated_at"),
      read: (limit, offset) => request("GET", `/conversations?limit=${limit}&offset=${offset}`),
    });
    this.addEventListener("change", () => this.#note());
  }

  /** @param {Conversation} conversation @returns {"answering"|"unread"|null} for what goes on elsewhere */
  markOf({ id, is_answering }) {
    if (is_answering) return "answering";
    return this.#unread.has(id) ? "unread" : null;
  }

  /** @param {string} id of the conversation that is looked at; empty: none is */
  look(id) {
    this.#openId = id;
    this.#unread.delete(id);
  }

  #note() {
    for (const { id, is_answering } of this.items) {
      if (is_answering) this.#answering.add(id);
      else if (this.#answering.delete(id) && id !== this.#openId) this.#unread.add(id);
    }
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
