/** The page of one conversation, or of the one that begins with the next message. */

import { loadRule, t } from "../../i18n/i18n.js";
import { html, nothing, render } from "../../lit.js";
import { href } from "../../shell/routes.js";
import { History } from "../../store/history.js";
import { isActive } from "../../client/task_state.js";
import { detailOf, fromStored } from "../../client/tasks.js";
import { notice } from "../../ui/notice.js";
import { Composer } from "./composer.js";
import { Thread } from "./thread.js";
import { buildTurns, questionAndAnswer, withoutTask } from "./turns.js";
import { welcome } from "./welcome.js";

/**
 * @import { App, Page } from "../../shell/types.d.ts"
 * @import { TaskState } from "../../client/types.d.ts"
 * @import { Turn } from "./turns.js"
 */

/** @param {App} app @param {string|null} id of the conversation, null: a new one @returns {Page} */
export default function createPage(app, id) {
  return new ChatPage(app, id);
}

/** @implements {Page} */
class ChatPage {
  element = document.createElement("div");
  #app;
  #id;
  /** @type {History|null} null before there is a conversation */
  #history;
  /** @type {Set<string>} ids of the conversation's tasks */
  #taskIds = new Set();
  /** @type {Set<string>} ids of tasks whose texts were asked for */
  #read = new Set();
  /** @type {{text: string, replaces: string|null}|null} sent, and not accepted yet */
  #pending = null;
  /** @type {any} why the last action failed */
  #error = null;
  #isLoadingOlder = false;
  #isDisposed = false;
  #thread;
  #composer;
  #onTaskChange = (/** @type {Event} */ event) => this.#update(detailOf(event));
  #onStoreChange = () => this.#show();

  /** @param {App} app @param {string|null} id */
  constructor(app, id) {
    this.#app = app;
    this.#id = id;
    this.#history = id === null ? null : new History(id);
    this.element.className = "chat";
    this.#composer = new Composer({
      models: app.models,
      draft: app.drafts.read(this.#place),
      onDraft: (text) => app.drafts.write(this.#place, text),
      onSend: (text) => this.#send(text, null),
      onStop: () => this.#stop(),
    });
    this.#thread = new Thread({
      simulatedModels: app.simulatedModels,
      decide: (taskId, callId, decision) => app.store.tasks.decide(taskId, callId, decision),
      onRetry: (key) => this.#askAgain(key),
      onRendered: () => app.scroller.follow(),
    });
    app.store.tasks.addEventListener("change", this.#onTaskChange);
    // Its scenes are part of an empty chat.
    if (id === null) app.store.addEventListener("change", this.#onStoreChange);
    this.#show();
  }

  get dock() {
    return this.#composer.element;
  }

  /** The scenes of an empty chat begin at the top. @returns {"start"|"end"} */
  get opensAt() {
    return this.#id === null ? "start" : "end";
  }

  get title() {
    if (this.#id === null) return t("chat.new");
    return this.#app.store.conversations.get(this.#id)?.title || t("chat.untitled");
  }

  get #place() {
    return `c/${this.#id ?? ""}`;
  }

  focus() {
    this.#composer.fit();
    this.#composer.focus();
  }

  async load() {
    this.#composer.fit();
    if (!this.#history) return;
    await this.#history.loadNewest();
    this.#showHistory();
  }

  /** Something happened to a task that was begun elsewhere: perhaps in this chat. */
  async refresh() {
    if (!this.#pending) await this.load();
  }

  async #loadOlder() {
    if (!this.#history || this.#isLoadingOlder) return;
    this.#isLoadingOlder = true;
    this.#show();
    try {
      await this.#history.loadOlder();
    } catch (error) {
      this.#error = error;
    } finally {
      this.#isLoadingOlder = false;
      if (!this.#isDisposed) this.#app.scroller.keepPlace(() => this.#showHistory());
    }
  }

  /** Follow what is answered now, and show all that was read. */
  #showHistory() {
    if (this.#isDisposed || !this.#history) return;
    for (const row of this.#history.tasks) {
      this.#taskIds.add(row.task_id);
      this.#app.store.tasks.follow(fromStored(row));
    }
    this.#show();
    this.#readTexts().catch(console.warn);
  }

  /**
   * Reasoning, calls of tools, and what came of answers that failed, one after the other: lists have
   * none of them.
   */
  async #readTexts() {
    for (const row of this.#history?.tasks ?? []) {
      const isAnswered = row.status === "succeeded" && !row.has_reasoning && !row.has_tools;
      if (isAnswered || !(row.has_text || row.has_reasoning || row.has_tools)) continue;
      const task = this.#app.store.tasks.get(row.task_id);
      if (this.#isDisposed) return;
      if (!task || isActive(task) || this.#read.has(task.id)) continue;
      this.#read.add(task.id);
      await this.#app.store.tasks.readWhole(task);
    }
  }

  dispose() {
    this.#isDisposed = true;
    this.#app.store.tasks.removeEventListener("change", this.#onTaskChange);
    this.#app.store.removeEventListener("change", this.#onStoreChange);
    this.#thread.dispose();
    for (const id of this.#taskIds) this.#app.store.tasks.unfollow(id);
  }

  /** @returns {TaskState[]} */
  get #tasks() {
    return [...this.#taskIds].flatMap((id) => this.#app.store.tasks.get(id) ?? []);
  }

  /** @returns {Turn[]} */
  get #turns() {
    const tasks = new Map(this.#tasks.map((task) => [task.id, task]));
    const turns = buildTurns(this.#history?.messages ?? [], tasks);
    if (!this.#pending) return turns;
    const { text, replaces } = this.#pending;
    const others = replaces ? withoutTask(turns, replaces) : turns;
    return [...others, ...questionAndAnswer(text, null)];
  }

  /** @param {string} text @param {string|null} replaces the task that is asked again */
  async #send(text, replaces) {
    this.#error = null;
    this.#pending = { text, replaces };
    this.#show();
    this.#app.scroller.toEnd();
    try {
      await this.#submit(text, replaces);
    } catch (error) {
      this.#pending = null;
      if (!replaces) this.#composer.setText(text);
      // Refused over the WebSocket: net/api.js loads the text for REST alone.
      await loadRule(/** @type {any} */ (error).params);
      this.#fail(error);
      // Another tab was first: show what it has made of the chat.
      const isConflict = /** @type {any} */ (error).code === "conflict";
      if (isConflict) await this.load().catch(console.warn);
    }
  }

  /** @param {string} text @param {string|null} replaces */
  async #submit(text, replaces) {
    const { tasks, conversations } = this.#app.store;
    const isFirst = this.#history === null;
    const history = this.#history ?? await this.#begin();
    const task = await this.#ask(isFirst, {
      conversation_id: this.#id,
      messages: [{ role: "user", content: text }],
      model: this.#composer.model ?? undefined,
      replaces: replaces ?? undefined,
    });
    history.accept(task.id, text, replaces);
    this.#taskIds.add(task.id);
    this.#pending = null;
    if (this.#isDisposed) tasks.unfollow(task.id);
    else this.#show();
    if (this.#id) conversations.reload(this.#id).catch(console.warn);
  }

  /** @param {boolean} isFirst @param {object} fields */
  async #ask(isFirst, fields) {
    try {
      return await this.#app.store.tasks.submit(fields);
    } catch (error) {
      if (isFirst) this.#undoBegin();
      throw error;
    }
  }

  /** Nothing was asked in it: it is no conversation. */
  #undoBegin() {
    const id = this.#id;
    if (id === null) return;
    this.#id = null;
    this.#history = null;
    this.#app.store.conversations.delete(id).catch(console.warn);
    if (this.#isDisposed) return;
    this.#app.store.addEventListener("change", this.#onStoreChange);
    this.#app.moved({ name: "chat", id: null });
  }

  async #begin() {
    const { id } = await this.#app.store.conversations.create();
    this.#id = id;
    this.#history = new History(id);
    this.#app.store.removeEventListener("change", this.#onStoreChange);
    if (!this.#isDisposed) this.#app.moved({ name: "chat", id });
    return this.#history;
  }

  #stop() {
    const task = this.#tasks.find(isActive);
    if (task) this.#app.store.tasks.cancel(task.id).catch((error) => this.#fail(error));
  }

  /** @param {TaskState} task that an event has changed */
  #update(task) {
    if (!this.#taskIds.has(task.id)) return;
    this.#thread.update(task);
    if (isActive(task)) return;
    const isEnd = this.#composer.isBusy;
    this.#show();
    if (isEnd && !this.#composer.isBusy) this.#ended(task);
  }

  /** @param {TaskState} task */
  #ended({ status }) {
    this.#app.announce(t(`chat.ended.${/** @type {"failed"} */ (status)}`));
    if (this.#id) this.#app.store.conversations.reload(this.#id).catch(console.warn);
  }

  #show() {
    if (this.#isDisposed) return;
    render(this.#template(this.#turns), this.element);
    this.#composer.setBusy(this.#pending !== null || this.#tasks.some(isActive));
  }

  /** @param {Turn[]} turns */
  #template(turns) {
    const isEmpty = this.#id === null && turns.length === 0;
    return html`
      ${isEmpty ? welcome(this.#app.store.scenes) : nothing}
      ${this.#history?.hasOlder ? this.#olderButton() : nothing}
      ${this.#thread.template(turns)}
      <div class="notices">${notice(this.#error)}</div>
    `;
  }

  #olderButton() {
    const label = t(this.#isLoadingOlder ? "chat.older_loading" : "chat.older");
    return html`
      <p class="older">
        <button type="button" class="text-button" ?disabled=${this.#isLoadingOlder}
          @click=${() => this.#loadOlder()}>${label}</button>
      </p>
    `;
  }

  /**
   * A scene is asked again with its form, which has the variables; a message as it was, in the
   * place of the question that it was.
   *
   * @param {string} key of the answer's turn
   */
  #askAgain(key) {
    const turns = this.#turns;
    const index = turns.findIndex((turn) => turn.key === key);
    const task = turns[index]?.task;
    const question = turns.slice(0, index).findLast(({ role }) => role === "question");
    if (!task) return;
    if (task.scene) location.hash = href({ name: "scene", id: task.scene });
    else if (question && !this.#composer.isBusy) this.#send(question.content ?? "", task.id);
  }

  /** @param {any} error */
  #fail(error) {
    // The only conflict of a chat.
    this.#error = error.code === "conflict" ? { code: "asked_again" } : error;
    this.#show();
    if (!this.#isDisposed) this.#app.scroller.toEnd();
  }
}
