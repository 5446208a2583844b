/** A modal dialog whose content is drawn again as it changes; on phones it fills the window. */

import { html, nothing, render } from "../../lit.js";
import { t } from "../../i18n/i18n.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { RequestState } from "../../ui/request_state.js";

/**
 * @typedef {object} Parts
 * @property {string} heading
 * @property {(sheet: Sheet) => unknown} content
 * @property {string} [action] what its main button says; none: it has none
 * @property {(sheet: Sheet) => Promise<unknown>|unknown} [onAction] a refusal is shown, and keeps it open
 * @property {boolean} [isDanger]
 * @property {boolean} [isWide]
 * @property {() => boolean} [isReady] the main button may be used
 * @property {RequestState} [request] whose refusal it shows; its own by default
 */

let count = 0;

export class Sheet {
  /** @type {RequestState} */
  request;
  element = document.createElement("dialog");
  #parts;
  #id = `sheet-${++count}`;
  /** @type {() => void} */
  #onClosed = () => {};
  /** Resolves when it is closed. */
  closed = new Promise((resolve) => (this.#onClosed = () => resolve(undefined)));

  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
    this.request = parts.request ?? new RequestState(() => this.show());
    this.element.className = `dialog sheet ${parts.isWide ? "wide" : ""}`;
    this.element.setAttribute("aria-labelledby", this.#id);
    this.element.addEventListener("close", () => {
      this.element.remove();
      this.#onClosed();
    });
    document.body.append(this.element);
    this.show();
    this.element.showModal();
    this.#focusFirst();
  }

  /** What is to be filled in, not the button that closes it. */
  #focusFirst() {
    const first = this.element.querySelector(
      ".sheet-content :is(input, select, textarea, button, a):not(:disabled)",
    );
    /** @type {HTMLElement|null} */ (first)?.focus();
  }

  close() {
    this.element.close();
  }

  async #act() {
    const isDone = await this.request.run(() => this.#parts.onAction?.(this));
    if (isDone) this.close();
  }

  show() {
    if (!this.element.isConnected) return;
    const { heading, content, action, isDanger, isReady = () => true } = this.#parts;
    const { isBusy, error } = this.request;
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#act();
    };
    const template = html`
      <form novalidate @submit=${submit}>
        <header class="sheet-head">
          <h2 id=${this.#id} dir="auto">${heading}</h2>
          <button type="button" class="icon-button" aria-label=${t("tables.close")}
            title=${t("tables.close")} @click=${() => this.close()}>${icon("close")}</button>
        </header>
        <div class="sheet-content">${content(this)}</div>
        <div class="notices">${notice(error)}</div>
        ${action
          ? html`
            <div class="dialog-actions">
              <button type="button" class="button" @click=${() => this.close()}>
                ${t("dialog.cancel")}
              </button>
              <button type="submit" class="button ${isDanger ? "danger" : "primary"}"
                ?disabled=${isBusy || !isReady()}>${action}</button>
            </div>
          `
          : nothing}
      </form>
    `;
    render(template, this.element);
  }
}
