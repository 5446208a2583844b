/** The box a message is written in. Enter sends, Shift+Enter starts a line. */

import { t } from "../../i18n/i18n.js";
import { html, render } from "../../lit.js";
import { find } from "../../ui/dom.js";
import { icon } from "../../ui/icons.js";
import { isComposing } from "../../ui/keyboard.js";

const MAX_HEIGHT_PX = 240;
const MODEL_KEY = "aily.model";

/**
 * @typedef {{name: string, simulated: boolean}} Model
 * @typedef {object} Options
 * @property {Model[]} models the default first
 * @property {string} draft
 * @property {(text: string) => void} onDraft after each change of what is written
 * @property {(text: string) => void} onSend
 * @property {() => void} onStop
 */

export class Composer {
  element = document.createElement("form");
  #options;
  #isBusy = false;
  #area;

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.element.className = "composer";
    this.element.addEventListener("submit", (event) => event.preventDefault());
    this.#show();
    this.#area = /** @type {HTMLTextAreaElement} */ (find(this.element, "textarea"));
    this.#chooseRememberedModel();
    this.setText(options.draft);
  }

  focus() {
    this.#area.focus({ preventScroll: true });
  }

  /** To the height of its text; it has none before it is on the page. */
  fit() {
    this.#area.style.height = "auto";
    const height = Math.min(this.#area.scrollHeight, MAX_HEIGHT_PX);
    if (height) this.#area.style.height = `${height}px`;
    this.#show();
  }

  /** @param {string} text */
  setText(text) {
    this.#area.value = text;
    this.#options.onDraft(text);
    this.fit();
  }

  /** @param {boolean} isBusy an answer is coming, which can be stopped */
  setBusy(isBusy) {
    if (isBusy === this.#isBusy) return;
    this.#isBusy = isBusy;
    this.#show();
  }

  get isBusy() {
    return this.#isBusy;
  }

  /** @returns {string|null} null: there is none to choose */
  get model() {
    return this.#select().value || null;
  }

  #select() {
    return /** @type {HTMLSelectElement} */ (find(this.element, "select"));
  }

  #chooseRememberedModel() {
    const remembered = localStorage.getItem(MODEL_KEY);
    const isOffered = this.#options.models.some(({ name }) => name === remembered);
    if (remembered && isOffered) this.#select().value = remembered;
  }

  #send() {
    const text = this.#area.value.trim();
    if (this.#isBusy || !text) return;
    this.setText("");
    this.#options.onSend(text);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    // While an input method composes, Enter picks a word.
    if (isComposing(event)) return;
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    this.#send();
  }

  #onInput() {
    this.#options.onDraft(this.#area.value);
    this.fit();
  }

  #show() {
    render(this.#template(), this.element);
  }

  #template() {
    const isEmpty = !this.#area?.value.trim();
    const label = t(this.#isBusy ? "composer.stop" : "composer.send");
    return html`
      <label class="visually-hidden" for="composer-text">${t("composer.label")}</label>
      <div class="composer-box">
        <textarea id="composer-text" rows="1" dir="auto" enterkeyhint="send"
          placeholder=${t("composer.placeholder")} aria-describedby="composer-hint"
          @input=${() => this.#onInput()}
          @keydown=${(/** @type {KeyboardEvent} */ event) => this.#onKey(event)}></textarea>
        <div class="composer-bar">
          ${modelSelect(this.#options.models)}
          <span id="composer-hint" class="composer-hint">${t("composer.hint")}</span>
          <button type="button" class="send-button ${this.#isBusy ? "stop" : ""}"
            aria-label=${label} title=${label} ?disabled=${!this.#isBusy && isEmpty}
            @click=${() => (this.#isBusy ? this.#options.onStop() : this.#send())}>
            ${icon(this.#isBusy ? "stop" : "send")}
          </button>
        </div>
      </div>
    `;
  }
}

/** @param {Model[]} models */
function modelSelect(models) {
  /** @param {Event} event */
  const remember = (event) => {
    localStorage.setItem(MODEL_KEY, /** @type {HTMLSelectElement} */ (event.target).value);
  };
  return html`
    <select class="model-select" aria-label=${t("composer.model")} ?hidden=${!models.length}
      @change=${remember}>
      ${models.map(({ name, simulated }) => {
        const label = simulated ? t("composer.model_simulated", { name }) : name;
        return html`<option value=${name}>${label}</option>`;
      })}
    </select>
  `;
}
