/** All fields of one row: to read, and to be changed by those who may. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { isSame, shownText } from "./values.js";
import { ValueForm } from "./value_sheet.js";

/**
 * @import { Context } from "./panel.js"
 * @import { Field, Row, Value } from "./types.d.ts"
 */

export class RowPanel {
  #context;
  #row;
  #show;
  /** @type {ValueForm[]} */
  #forms;
  /** What the forms began with, by the key of the field. @type {Map<string, Value>} */
  #was = new Map();
  #error = "";

  /** @param {Context} context @param {Row} row @param {() => void} show */
  constructor(context, row, show) {
    this.#context = context;
    this.#row = row;
    this.#show = show;
    this.#forms = context.session.may.edit ? this.#makeForms() : [];
  }

  get heading() {
    const [first] = this.#fields;
    const name = first ? shownText(first, this.#value(first)) : "";
    return name || t("tables.row_number", { number: this.#row.id });
  }

  get #fields() {
    const { session } = this.#context;
    return session.view.fieldsInOrder(session.data.fields);
  }

  #makeForms() {
    const { links } = this.#context.session;
    return this.#fields.map((field) => {
      this.#was.set(field.key, this.#value(field));
      return new ValueForm(field, this.#value(field), links, () => this.#show());
    });
  }

  /** @param {Field} field @returns {Value} */
  #value(field) {
    return this.#context.session.lines.valueOf(this.#row, field);
  }

  template() {
    if (this.#forms.length === 0) {
      return html`
        <dl class="row-values">
          ${this.#fields.map((field) =>
            html`
              <dt dir="auto">${field.name}</dt>
              <dd dir="auto">${shownText(field, this.#value(field))}</dd>
            `
          )}
        </dl>
      `;
    }
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#save();
    };
    return html`
      <form class="row-form" novalidate @submit=${submit}>
        ${this.#forms.map((form) => form.template())}
        ${this.#error ? html`<p class="field-error" role="alert">${this.#error}</p>` : nothing}
        <button type="submit" class="button primary">${t("tables.save")}</button>
      </form>
    `;
  }

  #save() {
    const { session, say } = this.#context;
    const edits = [];
    this.#error = "";
    for (const form of this.#forms) {
      const { key } = form.field;
      const was = this.#was.get(key) ?? null;
      const value = form.read();
      if (value === undefined) this.#error = `${form.field.name}: ${form.error}`;
      else if (!isSame(value, was)) edits.push({ rowId: this.#row.id, key, was, value });
    }
    if (!this.#error && edits.length) {
      for (const { key, value } of edits) this.#was.set(key, value);
      session.edits.change(edits).catch(() => {});
      say(t("tables.row_saved"));
    }
    this.#show();
  }
}
