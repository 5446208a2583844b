/**
 * The app's copy of server state: paged lists, patched with what this page does and what events
 * say. An event names a task and not its conversation; so of tasks begun elsewhere only the newest
 * page of the conversations is read, however long the list is.
 */

import { exchange } from "../net/api.js";
import { detailOf } from "../client/tasks.js";
import { Conversations } from "./conversations.js";
import { PagedCollection } from "./paged.js";
import { WaitingTasks } from "./waiting.js";

/**
 * @import { Socket } from "../client/socket.js"
 * @import { Tasks } from "../client/tasks.js"
 * @import { TaskState } from "../client/types.d.ts"
 * @import { Scene } from "./types.d.ts"
 */

/** A program of the same user may run thousands of tasks: their events must not flood the server. */
const REFRESH_MS = { delay: 300, interval: 2000 };

/** Events: `change`, when a list has; `refreshed`, after tasks that were begun elsewhere changed. */
export class Store extends EventTarget {
  conversations = new Conversations();
  /** @type {PagedCollection<Scene>} */
  #scenes = new PagedCollection({
    read: async (limit, offset) => {
      return (await exchange("GET", `/scenes?limit=${limit}&offset=${offset}`)).data;
    },
    keyOf: ({ slug }) => slug,
    compare: (a, b) => (a.slug < b.slug ? -1 : 1),
  });
  waiting = new WaitingTasks();
  #refreshTimer = 0;
  #refreshedAt = 0;

  /** @param {Tasks} tasks @param {Socket} socket */
  constructor(tasks, socket) {
    super();
    this.tasks = tasks;
    for (const list of [this.conversations, this.#scenes, this.waiting]) {
      list.addEventListener("change", () => this.dispatchEvent(new Event("change")));
    }
    tasks.addEventListener("foreign", () => this.#refreshSoon());
    tasks.addEventListener("change", (event) => this.#noteWaiting(detailOf(event)));
    // Events were lost while the connection was.
    socket.addEventListener("reopen", () => this.#refreshSoon());
  }

  async load() {
    await Promise.all([
      this.conversations.loadFirst(),
      this.#loadScenes(),
      this.waiting.load(),
    ]);
  }

  async #loadScenes() {
    await this.#scenes.loadFirst();
    while (this.#scenes.hasMore) await this.#scenes.loadMore();
  }

  /** A scene was published or changed. */
  async reloadScenes() {
    await this.#loadScenes();
  }

  /**
   * Those that can be run, and those that the user may bring so far.
   *
   * @param {(slug: string) => boolean} mayEdit @returns {Scene[]}
   */
  scenesFor(mayEdit) {
    return this.#scenes.items.filter(({ slug }) => this.scene(slug) || mayEdit(slug));
  }

  /** Those that can be run: staff are also sent others. */
  get scenes() {
    return this.#scenes.items.filter((scene) => scene.is_enabled && scene.variables_schema);
  }

  /** @param {string} slug @returns {Scene|undefined} */
  scene(slug) {
    return this.scenes.find((scene) => scene.slug === slug);
  }

  /** @param {TaskState} task that is followed here, and has changed */
  #noteWaiting({ id, status }) {
    const isWaiting = status === "requires_action";
    if (isWaiting !== this.waiting.has(id)) this.waiting.load().catch(console.warn);
  }

  /** Many calls become one. */
  #refreshSoon() {
    if (this.#refreshTimer) return;
    const wait = Math.max(
      REFRESH_MS.delay,
      this.#refreshedAt + REFRESH_MS.interval - Date.now(),
    );
    this.#refreshTimer = setTimeout(() => {
      this.#refreshTimer = 0;
      this.#refreshedAt = Date.now();
      this.#refresh().catch((error) => console.warn("refresh", error));
    }, wait);
  }

  async #refresh() {
    await Promise.all([this.conversations.loadFirst(), this.waiting.load()]);
    this.dispatchEvent(new Event("refreshed"));
  }
}
