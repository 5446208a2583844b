/** A form made from a scene's JSON Schema, and the variables read from it. */

import { html, render, repeat } from "../../lit.js";
import { find } from "../../ui/dom.js";
import { fieldsOf, fieldTemplate, read, write } from "./fields.js";

/**
 * @import { Schema } from "../../store/types.d.ts"
 * @import { Field, Input } from "./fields.js"
 */

export class Form {
  element = document.createElement("div");
  /** @type {Field[]} */
  #fields;
  /** @type {Record<string, string>} by the field's name */
  #errors = {};

  /** @param {Schema} schema */
  constructor(schema) {
    this.#fields = fieldsOf(schema);
    this.element.className = "fields";
    this.element.addEventListener("input", (event) => {
      this.#setErrors({ ...this.#errors, [/** @type {Input} */ (event.target).name]: "" });
    });
    this.#show();
    for (const field of this.#fields) {
      const { default: value } = field.property;
      if (value !== undefined) write(field, this.#input(field), value);
    }
  }

  /** @returns {Record<string, unknown>} the variables @throws {FieldError} */
  read() {
    const values = this.#fields.map((field) => [field.name, read(field, this.#input(field))]);
    return Object.fromEntries(values.filter(([, value]) => value !== undefined));
  }

  /** @returns {Record<string, string|boolean>} what is in the inputs, right or wrong */
  get draft() {
    return Object.fromEntries(this.#fields.map((field) => {
      const input = this.#input(field);
      return [field.name, field.kind === "boolean" ? input.checked : input.value];
    }));
  }

  /** @param {Record<string, string|boolean>} draft */
  restore(draft) {
    for (const field of this.#fields) {
      const value = draft[field.name];
      const input = this.#input(field);
      if (typeof value === "boolean") input.checked = value;
      else if (value !== undefined) input.value = value;
    }
  }

  focus() {
    if (this.#fields[0]) this.#input(this.#fields[0]).focus({ preventScroll: true });
  }

  /** @param {string} name @param {string} message @returns {boolean} false: no such field */
  showError(name, message) {
    const field = this.#fields.find((known) => known.name === name);
    this.#setErrors(field ? { [name]: message } : {});
    if (field) this.#input(field).focus();
    return field !== undefined;
  }

  /** @param {Record<string, string>} errors */
  #setErrors(errors) {
    this.#errors = errors;
    this.#show();
  }

  #show() {
    // Of several texts the first is the material, for which there should be room.
    const main = this.#fields.find(({ kind }) => kind === "text" || kind === "json");
    const fields = repeat(this.#fields, ({ name }) => name, (field) => {
      return fieldTemplate(field, field === main, this.#errors[field.name] ?? "");
    });
    render(html`${fields}`, this.element);
  }

  /** @param {Field} field @returns {Input} */
  #input({ name }) {
    return find(this.element, `[name="${CSS.escape(name)}"]`);
  }
}
