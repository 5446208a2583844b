/** The page of one conversation, or of the one that begins with the next message. */

import { createAnswer } from "./answer.js";
import { request } from "./api.js";
import { createComposer } from "./composer.js";
import { h, reconcile } from "./dom.js";
import { createNotice } from "./errors.js";
import { isActive } from "./reducer.js";
import { createQuestion } from "./question.js";
import { href } from "./route.js";
import { fromStored } from "./tasks.js";
import { buildTurns, questionAndAnswer, withCut, withoutTask } from "./turns.js";
import { createWelcome } from "./welcome.js";

/** As many messages or tasks as the server gives at once. */
const PAGE = 100;

export class ChatPage {
  /** @type {import("./turns.js").Turn[]} */
  #turns = [];
  #app;
  #disposed = false;
  #list = h("div", { class: "turns" });
  #older = h(
    "p",
    { class: "older muted", hidden: true },
    "Older messages are kept, but not shown here.",
  );
  #notices = h("div", { class: "notices" });
  #composer;
  #onChange = (event) => this.#update(event.detail);

  /** @param {object} app see main.js @param {string|null} id of the conversation, null: a new one */
  constructor(app, id) {
    this.#app = app;
    this.id = id;
    this.#composer = createComposer({
      models: app.models,
      onSend: (text) => this.#send(text, null),
      onStop: () => this.#stop(),
    });
    this.welcome = id === null ? createWelcome(app.library) : null;
    this.element = h(
      "div",
      { class: "chat" },
      this.welcome?.element,
      this.#older,
      this.#list,
      this.#notices,
    );
    this.dock = this.#composer.element;
    app.tasks.addEventListener("change", this.#onChange);
  }

  get title() {
    return this.id === null
      ? "New chat"
      : this.#app.library.conversation(this.id)?.title || "Conversation";
  }

  focus() {
    this.#composer.focus();
  }

  /** Read the conversation, and follow the task that answers in it, if one does. */
  async load() {
    if (this.id === null) return;
    const [messages, rows] = await Promise.all([
      this.#latestMessages(),
      request("GET", `/llmchat/tasks?conversation_id=${this.id}&limit=${PAGE}`),
    ]);
    if (this.#disposed) return;
    const tasks = new Map();
    for (const row of rows.items) {
      this.#app.tasks.follow(fromStored(row));
      tasks.set(row.task_id, this.#app.tasks.get(row.task_id));
    }
    this.#show(buildTurns(messages, tasks));
    await this.#readTexts(rows.items);
  }

  /** Reasoning, and what came of answers that failed, one after the other: the list has no texts. */
  async #readTexts(rows) {
    for (const row of rows) {
      const isAnswered = row.status === "succeeded" && !row.has_reasoning;
      if (isAnswered || !(row.has_text || row.has_reasoning)) continue;
      const task = this.#app.tasks.get(row.task_id);
      if (this.#disposed) return;
      if (task && !isActive(task)) await this.#app.tasks.readWhole(task);
    }
  }

  /** The page's worth at the end of a long conversation, of which a note tells: of long messages
   * fewer. */
  async #latestMessages() {
    const path = `/conversations/${this.id}/messages?limit=${PAGE}&ordering=-created_at`;
    const { items, count } = await request("GET", path);
    this.#older.hidden = count <= items.length;
    return items.reverse();
  }

  /** Something happened to a task of this user that was begun elsewhere: perhaps in this chat. */
  async refresh() {
    const sending = this.#turns.some(({ role, task }) => role === "answer" && task === null);
    if (!sending) await this.load();
  }

  dispose() {
    this.#disposed = true;
    this.#app.tasks.removeEventListener("change", this.#onChange);
    this.welcome?.dispose();
    for (const { task } of this.#turns) if (task) this.#app.tasks.unfollow(task.id);
  }

  get #active() {
    return this.#turns.find(({ role, task }) => role === "answer" && (!task || isActive(task)));
  }

  /** @param {string} text @param {string|null} replaces the task that is asked again */
  async #send(text, replaces) {
    const shown = this.#turns;
    const before = replaces ? withoutTask(shown, replaces) : shown;
    this.#notices.replaceChildren();
    this.#show([...before, ...questionAndAnswer(text, null)]);
    this.#app.scroller.toEnd();
    try {
      if (this.id === null) await this.#begin();
      const messages = [{ role: "user", content: text }];
      const task = await this.#app.tasks.submit({
        conversation_id: this.id,
        messages,
        model: this.#composer.model() ?? undefined,
        replaces: replaces ?? undefined,
      });
      this.#show([...before, ...questionAndAnswer(text, task)]);
      this.#app.library.refreshSoon();
    } catch (error) {
      this.#show(shown);
      if (!replaces) this.#composer.setText(text);
      this.#showNotice(error);
      // Another tab was first: what it has made of the chat is to be seen.
      if (error.code === "conflict") await this.load().catch(console.warn);
    }
  }

  async #begin() {
    const conversation = await this.#app.library.create();
    this.id = conversation.id;
    this.#app.moved({ name: "chat", id: this.id });
  }

  #stop() {
    const task = this.#active?.task;
    if (task) this.#app.tasks.cancel(task.id).catch((error) => this.#showNotice(error));
  }

  #update(task) {
    const turn = this.#turns.find((known) => known.task?.id === task.id);
    if (!turn) return;
    const ended = isActive(turn.task) && !isActive(task);
    this.#show(this.#turns.map((known) => (known === turn ? { ...known, task } : known)));
    if (ended) this.#app.announce(ENDS[task.status]);
  }

  #show(turns) {
    this.#turns = turns;
    if (this.welcome) this.welcome.element.hidden = turns.length > 0;
    reconcile(
      this.#list,
      withCut(turns),
      ({ key }) => key,
      (turn) => this.#create(turn),
      (element, { task }) => {
        if (task !== undefined && element.task !== task) element.show((element.task = task));
      },
    );
    this.#composer.setBusy(Boolean(this.#active));
  }

  #create({ key, role, content }) {
    if (role === "question") return createQuestion(content);
    if (role === "cut") return createCut();
    return createAnswer({
      simulatedModels: this.#app.simulatedModels,
      onRetry: () => this.#askAgain(key),
      onRendered: () => this.#app.scroller.follow(),
    });
  }

  /** A scene is asked again with its form, which knows the variables; a message as it was, in the
   * place of the question that it was. */
  #askAgain(answerKey) {
    const index = this.#turns.findIndex(({ key }) => key === answerKey);
    const { id, scene } = this.#turns[index].task;
    const question = this.#turns.slice(0, index).findLast(({ role }) => role === "question");
    if (scene) location.hash = href({ name: "scene", id: scene });
    else if (question && !this.#active) this.#send(question.content, id);
  }

  #showNotice(error) {
    this.#notices.replaceChildren(createNotice(error));
    this.#app.scroller.toEnd();
  }
}

function createCut() {
  const text = "Earlier messages are no longer sent to the model.";
  return h("p", { class: "history-cut muted", role: "note" }, text);
}

const ENDS = {
  succeeded: "The answer is complete.",
  failed: "The answer failed.",
  cancelled: "The answer was stopped.",
  expired: "The answer ran out of time.",
};
