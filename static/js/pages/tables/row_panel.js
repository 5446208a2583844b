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
    return this.#fields.map((field) =>
      new ValueForm(field, this.#value(field), links, () => this.#show())
    );
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
    const changed = [];
    this.#error = "";
    for (const form of this.#forms) {
      const value = form.read();
      if (value === undefined) this.#error = `${form.field.name}: ${form.error}`;
      else if (!isSame(value, this.#value(form.field))) changed.push({ field: form.field, value });
    }
    if (!this.#error && changed.length) {
      const edits = changed.map(({ field, value }) => ({
        rowId: this.#row.id,
        key: field.key,
        was: this.#value(field),
        value,
      }));
      session.edits.change(edits).catch(() => {});
      say(t("tables.row_saved"));
    }
    this.#show();
  }
}
