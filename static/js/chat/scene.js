/** The page of a scene: a form for its variables. Running it begins a conversation. */

import { h, icon } from "./dom.js";
import { createNotice } from "./errors.js";
import { createForm } from "./form.js";
import { href } from "./route.js";

const TITLE_CHARS = 80;

export class ScenePage {
  #app;
  #scene;
  #form;
  #notices = h("div", { class: "notices" });
  #run = h(
    "button",
    { type: "submit", class: "button primary" },
    icon("send"),
    h("span", {}, "Run"),
  );
  dock = null;

  /** @param {object} app see main.js @param {import("./library.js").Scene} scene */
  constructor(app, scene) {
    this.#app = app;
    this.#scene = scene;
    this.#form = createForm(scene.variables_schema);
    this.#form.fill(app.lastVariables.get(scene.slug) ?? {});
    this.element = h(
      "form",
      { class: "scene" },
      scene.description && h("p", { class: "scene-description" }, scene.description),
      this.#form.element,
      this.#notices,
      h(
        "div",
        { class: "form-actions" },
        this.#run,
        h("span", { class: "muted" }, "or Ctrl+Enter"),
      ),
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.element.requestSubmit();
    });
  }

  get title() {
    return this.#scene.title || this.#scene.slug;
  }

  focus() {
    this.#form.focus();
  }

  async load() {}

  async refresh() {}

  dispose() {}

  async #submit() {
    if (this.#run.disabled) return;
    this.#setBusy(true);
    let conversation = null;
    try {
      const variables = this.#form.read();
      this.#app.lastVariables.set(this.#scene.slug, variables);
      conversation = await this.#app.library.create(this.#titleFor(variables));
      await this.#app.tasks.submit({
        scene: this.#scene.slug,
        variables,
        conversation_id: conversation.id,
      });
      location.hash = href({ name: "chat", id: conversation.id });
    } catch (error) {
      // Nothing was asked in it.
      if (conversation) this.#app.library.remove(conversation.id).catch(console.warn);
      this.#showError(error);
    } finally {
      this.#setBusy(false);
    }
  }

  #setBusy(busy) {
    this.#run.disabled = busy;
    this.#run.lastElementChild.textContent = busy ? "Sending…" : "Run";
    if (busy) this.#notices.replaceChildren();
  }

  #titleFor(variables) {
    const text = Object.values(variables).find((value) => typeof value === "string") ?? "";
    return `${this.title}: ${text.trim().replace(/\s+/g, " ")}`.slice(0, TITLE_CHARS);
  }

  #showError(error) {
    const name = error.field?.replace(/^variables\./, "").split(/[.[]/, 1)[0];
    if (name && this.#form.showError(name, error.message)) return;
    this.#notices.replaceChildren(createNotice(error));
  }
}
