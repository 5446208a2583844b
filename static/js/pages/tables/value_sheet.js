/** The form of one value, and the dialog for what has no room in a cell. */

import { t } from "../../i18n/i18n.js";
import { html } from "../../lit.js";
import { choicesOf, IN_SHEET, inputText, inputValue } from "./editors.js";
import { checkField, idOf, inputField, selectField } from "./forms.js";
import { Sheet } from "./sheet.js";
import { linkLabel } from "./values.js";

/**
 * @import { Links } from "./links.js"
 * @import { Field, Value } from "./types.d.ts"
 */

const MAX_FOUND = 20;
const SEARCH_MS = 250;
const TYPES = /** @type {Record<string, string>} */ ({ date: "date", datetime: "datetime-local" });
const MODES = /** @type {Record<string, string>} */ ({
  integer: "numeric",
  number: "decimal",
  email: "email",
  url: "url",
});

/** The value of one field while it is edited. */
export class ValueForm {
  error = "";
  #field;
  #links;
  /** @type {Value} */
  #value;
  /** Text of its input, where it has one. */
  #text;
  #show;
  /** Ids of rows of the linked table. @type {number[]} */
  #found = [];
  #search = "";
  #timer = 0;

  /** @param {Field} field @param {Value} value @param {Links} links @param {() => void} show */
  constructor(field, value, links, show) {
    this.#field = field;
    this.#value = value ?? null;
    this.#links = links;
    this.#show = show;
    this.#text = IN_SHEET.includes(field.kind) && field.kind !== "json" ? "" : textOf(field, value);
    if (field.kind === "link") this.#find();
  }

  get field() {
    return this.#field;
  }

  /** @returns {Value|undefined} undefined: what was typed is no value; `error` says why */
  read() {
    const { kind } = this.#field;
    this.error = "";
    if (kind === "multi_select" || kind === "link") return this.#value;
    const parsed = inputValue(this.#field, this.#text);
    if ("value" in parsed) return parsed.value;
    this.error = parsed.error;
    return undefined;
  }

  template() {
    const { kind, name } = this.#field;
    if (kind === "multi_select") return this.#several();
    if (kind === "link") return this.#linksTemplate();
    const parts = {
      id: idOf(this, "value"),
      label: name,
      value: this.#text,
      onChange: (/** @type {string} */ text) => (this.#text = text),
    };
    if (kind === "select" || kind === "boolean") {
      return selectField({ ...parts, options: choicesOf(this.#field) });
    }
    return inputField({
      ...parts,
      type: TYPES[kind],
      mode: MODES[kind],
      isLong: kind === "long_text" || kind === "json" || kind === "text",
      error: this.error,
    });
  }

  #several() {
    /** @type {number[]} */
    const chosen = this.#value ?? [];
    return html`
      <fieldset class="value-choices">
        <legend dir="auto">${this.#field.name}</legend>
        ${(this.#field.options.choices ?? []).map(({ id, name }) =>
          checkField({
            label: name,
            isOn: chosen.includes(id),
            onChange: (isOn) => {
              const others = chosen.filter((other) => other !== id);
              this.#value = isOn ? [...others, id] : others;
              this.#show();
            },
          })
        )}
      </fieldset>
    `;
  }

  #linksTemplate() {
    /** @type {number[]} */
    const chosen = this.#value ?? [];
    const others = this.#found.filter((id) => !chosen.includes(id));
    const add = (/** @type {number} */ id, /** @type {boolean} */ isOn) => {
      this.#value = isOn ? [...chosen, id] : chosen.filter((other) => other !== id);
      this.#show();
    };
    return html`
      <fieldset class="value-choices">
        <legend dir="auto">${this.#field.name}</legend>
        ${[...chosen, ...others].map((id) =>
          checkField({
            label: linkLabel(this.#field, id),
            isOn: chosen.includes(id),
            onChange: (isOn) => add(id, isOn),
          })
        )}
        ${inputField({
          id: idOf(this, "search"),
          label: t("tables.find_rows"),
          value: this.#search,
          onChange: (text) => this.#searchSoon(text),
        })}
      </fieldset>
    `;
  }

  /** @param {string} text */
  #searchSoon(text) {
    this.#search = text;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#find(), SEARCH_MS);
  }

  async #find() {
    const search = this.#search;
    const found = await this.#links.find(this.#field, search, MAX_FOUND);
    if (search !== this.#search) return;
    this.#found = found;
    this.#show();
  }
}

/** @param {Field} field @param {Value} value */
function textOf(field, value) {
  return field.kind === "json" && value !== null && value !== undefined
    ? JSON.stringify(value, null, 2)
    : inputText(field, value);
}

/**
 * @param {Field} field @param {Value} value @param {Links} links
 * @param {(value: Value) => void} onValue
 */
export function openValueSheet(field, value, links, onValue) {
  const form = new ValueForm(field, value, links, () => sheet.show());
  /** @type {Sheet} */
  const sheet = new Sheet({
    heading: field.name,
    action: t("tables.save"),
    content: () => form.template(),
    onAction: () => {
      const chosen = form.read();
      if (chosen === undefined) throw invalid(form.error);
      onValue(chosen);
    },
  });
  return sheet;
}

/** @param {string} message */
function invalid(message) {
  return Object.assign(new Error(message), { code: "invalid_form" });
}
