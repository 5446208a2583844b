/** The line below a table: rows, edits on their way, changes elsewhere, messages and errors. */

import { t } from "../../i18n/i18n.js";
import { html, nothing, render } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";

/** @import { TableSession } from "./session.js" */

const MESSAGE_MS = 8_000;

export class StatusBar {
  element = document.createElement("div");
  #session;
  #onProblems;
  #message = { text: "", undo: /** @type {(() => unknown)|null} */ (null), timer: 0 };
  /** @type {any} */
  #error = null;
  #isDisposed = false;

  /** @param {TableSession} session @param {{onProblems: () => void}} callbacks */
  constructor(session, { onProblems }) {
    this.#session = session;
    this.#onProblems = onProblems;
    this.element.className = "table-status";
  }

  /** @param {string} text @param {(() => unknown)} [undo] what takes it back */
  say(text, undo) {
    clearTimeout(this.#message.timer);
    const clear = () => {
      this.#message = { text: "", undo: null, timer: 0 };
      this.show();
    };
    this.#message = { text, undo: undo ?? null, timer: setTimeout(clear, MESSAGE_MS) };
    this.show();
  }

  /** @param {any} error shown until it is closed; null: none */
  fail(error) {
    this.#error = error;
    this.show();
  }

  /** The connection is back. */
  reconnected() {
    if (this.#error?.code === "network") this.fail(null);
  }

  show() {
    if (this.#isDisposed || !this.#session.isLoaded) return;
    const { edits, changes, lines } = this.#session;
    const template = html`
      <span class="status-count">${t("tables.rows", { count: lines.rowCount })}</span>
      <span class="status-edits" role="status">${this.#editsText()}</span>
      ${edits.problems.length
        ? html`
          <button type="button" class="text-button problem" @click=${() => this.#onProblems()}>
            ${t("tables.problems", { count: edits.problems.length })}
          </button>
        `
        : nothing}
      ${changes
        ? html`
          <button type="button" class="text-button" @click=${() => this.#session.reopen()}>
            ${t("tables.changes", { count: changes })}
          </button>
        `
        : nothing}
      ${this.#session.isLost
        ? html`<strong class="status-lost" role="alert">${t("tables.lost")}</strong>`
        : this.#messageTemplate()}
      ${this.#error && !this.#session.isLost ? this.#errorTemplate() : nothing}
    `;
    render(template, this.element);
  }

  #editsText() {
    const { waiting: count, isOffline } = this.#session.edits;
    if (isOffline) return t("tables.offline", { count });
    return count ? t("tables.saving", { count }) : "";
  }

  #messageTemplate() {
    const { text, undo } = this.#message;
    return html`
      <span class="status-message" role="status">${text}</span>
      ${undo
        ? html`
          <button type="button" class="text-button" @click=${() => this.#takeBack(undo)}>
            ${icon("undo")}${t("tables.undo")}
          </button>
        `
        : nothing}
    `;
  }

  #errorTemplate() {
    return html`
      <div class="notices">${notice(this.#error)}<button type="button" class="text-button"
          @click=${() => this.fail(null)}>${t("tables.close")}</button></div>
    `;
  }

  /** @param {() => unknown} undo */
  async #takeBack(undo) {
    this.say("");
    try {
      await undo();
    } catch (error) {
      this.fail(error);
    }
  }

  dispose() {
    this.#isDisposed = true;
    clearTimeout(this.#message.timer);
  }
}
