/** The page of the tasks that wait for their user: each with the calls to decide on. */

import { fromStored } from "../../client/tasks.js";
import { formatDateTime, t } from "../../i18n/i18n.js";
import { html, nothing, render, repeat } from "../../lit.js";
import { href } from "../../shell/routes.js";
import { notice } from "../../ui/notice.js";
import { ToolCalls } from "../chat/tool_calls.js";

/**
 * @import { App, Page } from "../../shell/types.d.ts"
 * @import { Decision, TaskRow } from "../../client/types.d.ts"
 */

/** @param {App} app @returns {Page} */
export default function createPage(app) {
  return new WaitingPage(app);
}

/** @implements {Page} */
class WaitingPage {
  element = document.createElement("div");
  dock = null;
  opensAt = /** @type {const} */ ("start");
  #app;
  /** @type {Map<string, ToolCalls>} by the id of their task */
  #calls = new Map();
  /** @type {Set<string>} ids of the tasks that are followed for this page */
  #followed = new Set();
  /** @type {any} */
  #error = null;
  #isDisposed = false;
  #onChange = () => this.#show();

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    this.element.className = "waiting";
    this.element.tabIndex = -1;
    app.store.waiting.addEventListener("change", this.#onChange);
    app.store.tasks.addEventListener("change", this.#onChange);
    this.#show();
  }

  get title() {
    return t("waiting.title");
  }

  focus() {
    this.element.focus({ preventScroll: true });
  }

  async load() {
    await this.#app.store.waiting.load();
  }

  async refresh() {}

  dispose() {
    this.#isDisposed = true;
    this.#app.store.waiting.removeEventListener("change", this.#onChange);
    this.#app.store.tasks.removeEventListener("change", this.#onChange);
    for (const id of this.#followed) this.#app.store.tasks.unfollow(id);
  }

  /** @param {string} taskId @param {string} callId @param {Decision} decision */
  async #decide(taskId, callId, decision) {
    const { tasks, waiting } = this.#app.store;
    await tasks.decide(taskId, callId, decision);
    this.#app.announce(t("waiting.decided"));
    await waiting.load();
    // The button that was pressed is gone with its task.
    if (document.activeElement === document.body) this.focus();
  }

  #follow() {
    const { tasks, waiting } = this.#app.store;
    for (const row of waiting.items) {
      if (this.#followed.has(row.task_id) || tasks.get(row.task_id)) continue;
      this.#followed.add(row.task_id);
      tasks.follow(fromStored(row));
      tasks.readCalls(row.task_id).catch(console.warn);
    }
  }

  #show() {
    if (this.#isDisposed) return;
    this.#follow();
    const { items, count } = this.#app.store.waiting;
    const template = html`
      ${items.length ? nothing : html`<p class="muted">${t("waiting.none")}</p>`}
      <ul class="waiting-tasks">
        ${repeat(items, ({ task_id }) => task_id, (row) => this.#item(row))}
      </ul>
      ${count > items.length ? html`<p class="muted">${t("waiting.more", { count })}</p>` : nothing}
      <div class="notices">${notice(this.#error)}</div>
    `;
    render(template, this.element);
  }

  /** @param {TaskRow} row */
  #item(row) {
    const { conversations, tasks } = this.#app.store;
    const task = tasks.get(row.task_id) ?? fromStored(row);
    const chat = row.conversation_id;
    const title = chat && conversations.get(chat)?.title || row.scene || t("waiting.task");
    return html`
      <li data-key=${row.task_id}>
        <h2>${chat ? html`<a href=${href({ name: "chat", id: chat })}>${title}</a>` : title}</h2>
        <p class="muted">${t("waiting.since", { time: formatDateTime(row.timings.created_at) })}</p>
        ${this.#callsOf(row.task_id).template(task)}
      </li>
    `;
  }

  /** @param {string} taskId */
  #callsOf(taskId) {
    const known = this.#calls.get(taskId);
    if (known) return known;
    const calls = new ToolCalls({
      decide: (callId, decision) => this.#decide(taskId, callId, decision),
      onChange: this.#onChange,
    });
    this.#calls.set(taskId, calls);
    return calls;
  }
}
