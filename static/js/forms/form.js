/** A form made from a JSON Schema, and the variables read from it. */

import { t } from "../i18n/i18n.js";
import { html, render } from "../lit.js";
import { fieldTemplate, idOf, membersTemplate } from "./fields.js";
import { nodeOf } from "./nodes.js";
import { initial, read, restored } from "./values.js";

/**
 * @import { Node, Schema, State } from "./types.d.ts"
 * @import { Complaint } from "./checks.js"
 */

/** Values that cannot be read as their schemas ask; the form has said so beside the fields. */
export class FormError extends Error {
  /** @param {number} count of fields */
  constructor(count) {
    super(t("form.invalid", { count }));
    this.code = "invalid_form";
  }
}

let formCount = 0;

export class Form {
  element = document.createElement("div");
  /** @type {Node} */
  #node;
  /** @type {any} */
  #state;
  /** @type {Map<string, string>} by path */
  #errors = new Map();
  #prefix = `form${++formCount}`;

  /** @param {Schema|null|undefined} schema */
  constructor(schema) {
    this.#node = nodeOf(schema);
    this.#state = initial(this.#node);
    this.element.className = "fields";
    this.#show();
  }

  /** @returns {Record<string, unknown>} the variables @throws {FormError} */
  read() {
    const errors = new Map();
    const say = (/** @type {string} */ path, /** @type {Complaint} */ { key, params }) => {
      if (!errors.has(path)) errors.set(path, t(key, params));
    };
    const value = read(this.#node, this.#state, true, "", say);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    if (errors.size === 0 && !isObject) errors.set("", t("form.not_json"));
    this.#errors = errors;
    this.#show();
    if (errors.size === 0) return /** @type {Record<string, unknown>} */ (value);
    this.#focusAt(errors.keys().next().value ?? "");
    throw new FormError(errors.size);
  }

  /** The variables as far as they can be read, without a word about the rest.
   * @returns {Record<string, unknown>} */
  peek() {
    const value = read(this.#node, this.#state, true, "", () => {});
    return typeof value === "object" && value !== null ? /** @type {any} */ (value) : {};
  }

  /** @returns {State} what is in the inputs, right or wrong */
  get draft() {
    return this.#state;
  }

  /** @param {unknown} draft */
  restore(draft) {
    this.#state = restored(this.#node, draft);
    this.#show();
  }

  /** @param {Record<string, unknown>} values where they fit; elsewhere are the defaults */
  fill(values) {
    this.#state = initial(this.#node, true, values);
    this.#show();
  }

  focus() {
    /** @type {HTMLElement|null} */
    const first = this.element.querySelector("input, select, textarea");
    first?.focus({ preventScroll: true });
  }

  /**
   * Say what the server has against a value, beside the nearest field.
   *
   * @param {string} path @param {string} message @returns {boolean} false: no such field
   */
  showError(path, message) {
    const parts = path.split(".");
    for (let length = parts.length; length > 0; length--) {
      const near = parts.slice(0, length).join(".");
      if (!this.element.querySelector(`#${CSS.escape(this.#id(near))}`)) continue;
      this.#errors = new Map([[near, message]]);
      this.#show();
      this.#focusAt(near);
      return true;
    }
    return false;
  }

  /** @param {string} path */
  #id(path) {
    return idOf({ prefix: this.#prefix }, path);
  }

  /** @param {string} path */
  #focusAt(path) {
    /** @type {HTMLElement|null} */
    const element = this.element.querySelector(`#${CSS.escape(this.#id(path))}`);
    element?.focus();
  }

  #show() {
    const context = {
      prefix: this.#prefix,
      errorAt: (/** @type {string} */ path) => this.#errors.get(path) ?? "",
      onChange: (/** @type {string} */ path) => {
        for (const known of [...this.#errors.keys()]) {
          if (known === path || known.startsWith(`${path}.`)) this.#errors.delete(known);
        }
        this.#show();
        this.element.dispatchEvent(new Event("change", { bubbles: true }));
      },
    };
    render(html`${this.#fields(context)}`, this.element);
  }

  /** @param {import("./fields.js").Context} context */
  #fields(context) {
    const node = this.#node;
    if (node.kind === "object") {
      // Of several texts the first is the material, for which there should be room.
      const main = node.members.find(({ node: { kind } }) => kind === "text");
      return membersTemplate(context, node, this.#state, "", main?.name ?? null);
    }
    return fieldTemplate(context, {
      node,
      path: "",
      isRequired: true,
      isMain: true,
      label: node.title || t("form.variables"),
      state: this.#state,
      set: (/** @type {State} */ state) => (this.#state = state),
    });
  }
}
