/** The page of a scene: a form for its variables. Running it begins a conversation. */

import { Form } from "../../forms/form.js";
import { t } from "../../i18n/i18n.js";
import { html, nothing, render } from "../../lit.js";
import { ApiError } from "../../net/api.js";
import { href } from "../../shell/routes.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { RequestState } from "../../ui/request_state.js";

/**
 * @import { App, Page } from "../../shell/types.d.ts"
 * @import { Scene } from "../../store/types.d.ts"
 */

const TITLE_CHARS = 80;

/** @param {App} app @param {string|null} slug @returns {Page} @throws {ApiError} */
export default function createPage(app, slug) {
  const scene = app.store.scene(slug ?? "");
  if (!scene) throw new ApiError({ code: "not_found", message: t("scene.unknown") });
  return new ScenePage(app, scene);
}

/** @implements {Page} */
class ScenePage {
  element = document.createElement("form");
  dock = null;
  opensAt = /** @type {const} */ ("start");
  #app;
  #scene;
  #form;
  #request = new RequestState(() => this.#show());

  /** @param {App} app @param {Scene} scene */
  constructor(app, scene) {
    this.#app = app;
    this.#scene = scene;
    this.#form = new Form(scene.variables_schema);
    this.#form.restore(this.#draft());
    this.element.className = "scene";
    // The form says what is wrong, in the page's language and not in the browser's.
    this.element.noValidate = true;
    this.element.addEventListener("change", () => this.#keepDraft());
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#request.run(() => this.#run().catch((error) => this.#showError(error)));
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.element.requestSubmit();
    });
    this.#show();
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

  /** What was run stays, too: to be changed and run again. */
  #keepDraft() {
    this.#app.drafts.write(this.#place, JSON.stringify(this.#form.draft));
  }

  #draft() {
    return JSON.parse(this.#app.drafts.read(this.#place) || "{}");
  }

  get #place() {
    return `s/${this.#scene.slug}`;
  }

  async #run() {
    const { conversations, tasks } = this.#app.store;
    const variables = this.#form.read();
    const conversation = await conversations.create(this.#titleFor(variables));
    try {
      await tasks.submit({
        scene: this.#scene.slug,
        variables,
        conversation_id: conversation.id,
      });
    } catch (error) {
      // Nothing was asked in it.
      conversations.delete(conversation.id).catch(console.warn);
      throw error;
    }
    location.hash = href({ name: "chat", id: conversation.id });
  }

  /** @param {Record<string, unknown>} variables */
  #titleFor(variables) {
    const text = Object.values(variables).find((value) => typeof value === "string") ?? "";
    return `${this.title}: ${String(text).trim().replace(/\s+/g, " ")}`.slice(0, TITLE_CHARS);
  }

  /** Beside its input, if it has one. @param {any} error */
  #showError(error) {
    const path = /^variables\.(.+)$/s.exec(error.field ?? "")?.[1];
    const message = t("form.refused", { message: error.message });
    if (!path || !this.#form.showError(path, message)) throw error;
  }

  #workshopLink() {
    const address = href({ name: "workshop", id: this.#scene.slug });
    return html`<a class="workshop-link" href=${address}>${t("scene.workshop")}</a>`;
  }

  #show() {
    const { description } = this.#scene;
    const template = html`
      ${description ? html`<p class="scene-description" dir="auto">${description}</p>` : nothing}
      ${this.#form.element}
      <div class="notices">${notice(this.#request.error)}</div>
      <div class="form-actions">
        <button type="submit" class="button primary" ?disabled=${this.#request.isBusy}>
          ${icon("send")}
          <span>${t(this.#request.isBusy ? "scene.sending" : "scene.run")}</span>
        </button>
        <span class="muted">${t("scene.shortcut")}</span>
        ${this.#app.mayEdit(this.#scene.slug) ? this.#workshopLink() : nothing}
      </div>
    `;
    render(template, this.element);
  }
}
