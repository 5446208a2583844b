/** Rows as cards, for narrow windows: the first fields of each, and all of them when it is opened. */

import { t } from "../../i18n/i18n.js";
import { html, nothing, render, repeat } from "../../lit.js";
import { cellNode } from "./cells.js";
import { isEmpty, shownText } from "./values.js";

/**
 * @import { TableSession } from "./session.js"
 * @import { Field, Row } from "./types.d.ts"
 */

/** Cards that are drawn at first, and added at the end. */
const STEP = 30;
const FIELDS = 4;

export class Cards {
  element = document.createElement("div");
  #session;
  #onOpen;
  #shown = STEP;
  #end;
  #frame = 0;

  /** @param {HTMLElement} parent @param {TableSession} session
   * @param {{onOpen: (row: Row) => void}} callbacks */
  constructor(parent, session, { onOpen }) {
    this.#session = session;
    this.#onOpen = onOpen;
    this.element.className = "table-cards";
    parent.append(this.element);
    this.#end = new IntersectionObserver((entries) => {
      if (entries.some(({ isIntersecting }) => isIntersecting)) this.#showMore();
    }, { root: this.element, rootMargin: "600px" });
  }

  #showMore() {
    if (this.#shown >= this.#session.lines.rowCount) return;
    this.#shown += STEP;
    this.show();
  }

  show() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const count = Math.min(this.#shown, this.#session.lines.rowCount);
    const fields = this.#session.fieldsShown.slice(0, FIELDS);
    const indexes = Array.from({ length: count }, (_, index) => index);
    this.#session.lines.setVisible({ top: 0, bottom: count - 1 });
    const template = html`
      ${count === 0 ? html`<p class="muted">${t("tables.no_rows")}</p>` : nothing}
      <ul>${repeat(indexes, (index) => index, (index) => this.#card(index, fields))}</ul>
      <div class="cards-end"></div>
    `;
    render(template, this.element);
    this.#end.disconnect();
    const end = this.element.querySelector(".cards-end");
    if (end) this.#end.observe(end);
  }

  /** @param {number} index @param {Field[]} fields */
  #card(index, fields) {
    const row = this.#session.lines.rowOf(index);
    if (row === null) return nothing;
    if (row === undefined) return html`<li class="card-row loading" aria-busy="true"></li>`;
    const [first, ...others] = fields;
    const title = first ? shownText(first, this.#session.lines.valueOf(row, first)) : "";
    return html`
      <li class="card-row">
        <button type="button" class="card-title" dir="auto" @click=${() => this.#onOpen(row)}>
          ${title || t("tables.row_number", { number: row.id })}
        </button>
        <dl>${others.map((field) => this.#value(row, field))}</dl>
      </li>
    `;
  }

  /** @param {Row} row @param {Field} field */
  #value(row, field) {
    const { value, edit, ai } = this.#session.lines.cell(row, field);
    if (isEmpty(value) && !ai && !edit) return nothing;
    return html`
      <div>
        <dt dir="auto">${field.name}</dt>
        <dd>${cellNode(field, value, edit, ai)}</dd>
      </div>
    `;
  }

  dispose() {
    cancelAnimationFrame(this.#frame);
    this.#end.disconnect();
    this.element.remove();
  }
}
