/** What the sidebar lists: the user's conversations and the scenes, as the server knows them. */

import { request } from "./api.js";

const PAGE = 50;
/** A program of the same user may run thousands of tasks: their events must not flood the server. */
const REFRESH_MS = { soon: 300, least: 2000 };

/**
 * @typedef {{id: string, title: string, created_at: string, updated_at: string}} Conversation
 * @typedef {{slug: string, title: string, description: string, variables_schema: object}} Scene
 */

/** Events: `change`, whenever one of its lists did; `refreshed`, after a `refreshSoon` was done. */
export class Library extends EventTarget {
  /** @type {Conversation[]} newest first */
  conversations = [];
  /** @type {Scene[]} */
  scenes = [];
  hasMore = false;
  #limit = PAGE;
  #refreshTimer = 0;
  #refreshedAt = 0;

  async load() {
    await Promise.all([this.#loadConversations(), this.#loadScenes()]);
  }

  async #loadScenes() {
    const { items } = await request("GET", "/scenes?limit=100");
    // Staff are also told of scenes that cannot be run.
    this.scenes = items.filter((scene) => scene.is_enabled && scene.variables_schema);
    this.#changed();
  }

  async #loadConversations() {
    this.#refreshedAt = Date.now();
    const { items, count } = await request("GET", `/conversations?limit=${this.#limit}`);
    this.conversations = items;
    this.hasMore = count > items.length;
    this.#changed();
  }

  async showMore() {
    this.#limit += PAGE;
    await this.#loadConversations();
  }

  /** Read the conversations again soon; many calls become one. */
  refreshSoon() {
    if (this.#refreshTimer) return;
    const wait = Math.max(REFRESH_MS.soon, this.#refreshedAt + REFRESH_MS.least - Date.now());
    this.#refreshTimer = setTimeout(() => {
      this.#refreshTimer = 0;
      this.#refresh().catch((error) => console.warn("conversations", error));
    }, wait);
  }

  async #refresh() {
    await this.#loadConversations();
    this.dispatchEvent(new Event("refreshed"));
  }

  /** @param {string} slug @returns {Scene|undefined} */
  scene(slug) {
    return this.scenes.find((scene) => scene.slug === slug);
  }

  /** @param {string} id @returns {Conversation|undefined} */
  conversation(id) {
    return this.conversations.find((conversation) => conversation.id === id);
  }

  /** @param {string} [title] without one, it is named after its first question @returns {Promise<Conversation>} */
  async create(title = "") {
    const conversation = await request("POST", "/conversations", { title });
    this.conversations = [conversation, ...this.conversations];
    this.#changed();
    return conversation;
  }

  /** @param {string} id @param {string} title */
  async rename(id, title) {
    const renamed = await request("PATCH", `/conversations/${id}`, { title });
    this.conversations = this.conversations.map((known) => (known.id === id ? renamed : known));
    this.#changed();
  }

  /** @param {string} id */
  async remove(id) {
    await request("DELETE", `/conversations/${id}`);
    this.conversations = this.conversations.filter((known) => known.id !== id);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
