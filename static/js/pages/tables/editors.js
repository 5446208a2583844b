/** Editors of cells in the grid: an input of the field's kind. What needs more room than a line has
 * a dialog (value_sheet.js). */

import { fromInput, toInput } from "../../forms/moments.js";
import { html, render } from "../../lit.js";
import { t } from "../../i18n/i18n.js";
import { isComposing } from "../../ui/keyboard.js";
import { isSame, parseText, plainText } from "./values.js";

/**
 * @import { Field, Kind, Value } from "./types.d.ts"
 * @typedef {{container: HTMLElement, item: any, event?: any}} EditorArgs what SlickGrid gives
 */

/** Kinds that are edited in a dialog. @type {Kind[]} */
export const IN_SHEET = ["multi_select", "json", "link"];
const INPUT_TYPES = /** @type {Partial<Record<Kind, string>>} */ ({
  date: "date",
  datetime: "datetime-local",
  url: "url",
  email: "email",
});
/** Keys that the input needs itself. */
const OWN_KEYS = ["ArrowLeft", "ArrowRight", "Home", "End"];

/** @param {Field} field @param {(item: any) => Value} valueOf of an item of the grid */
export function editorFor(field, valueOf) {
  return class extends CellEditor {
    /** @param {EditorArgs} args */
    constructor(args) {
      super(field, args, valueOf);
    }
  };
}

class CellEditor {
  #field;
  #valueOf;
  /** @type {HTMLInputElement|HTMLSelectElement|HTMLTextAreaElement} */
  #input;
  /** What the cell held when the edit began. @type {Value} */
  was = null;
  /** Of the cell, whatever line it gets meanwhile. @type {import("./types.d.ts").Row} */
  row;
  #isTyped;
  /** Something has been typed, or is about to be. */
  #isBegun = false;

  /** @param {Field} field @param {EditorArgs} args @param {(item: any) => Value} valueOf */
  constructor(field, { container, item, event }, valueOf) {
    // A character that is typed replaces the value.
    this.#isTyped = event instanceof KeyboardEvent;
    this.row = item;
    this.#field = field;
    this.#valueOf = valueOf;
    this.#input = makeInput(field, valueOf(item));
    this.#input.setAttribute("aria-label", field.name);
    this.#input.addEventListener("keydown", (event) => this.#keepKeys(/** @type {any} */ (event)));
    for (const name of ["input", "keydown", "compositionstart"]) {
      this.#input.addEventListener(name, () => (this.#isBegun = true));
    }
    container.append(this.#input);
    this.#input.focus();
  }

  /** @param {KeyboardEvent} event */
  #keepKeys(event) {
    const isList = this.#input instanceof HTMLSelectElement;
    const isLong = this.#input instanceof HTMLTextAreaElement;
    const isVertical = event.key === "ArrowUp" || event.key === "ArrowDown";
    // The Enter that ends a word of an input method is no end of the edit.
    if (OWN_KEYS.includes(event.key) || isComposing(event)) event.stopPropagation();
    else if (isVertical && (isList || isLong)) event.stopPropagation();
    else if (isLong && event.key === "Enter" && (event.altKey || event.shiftKey)) {
      event.stopPropagation();
    }
  }

  destroy() {
    this.#input.remove();
  }

  focus() {
    this.#input.focus();
  }

  /** The grid calls it once more when the row has changed: what is being typed stays. @param {any} item */
  loadValue(item) {
    if (this.#isBegun) return;
    this.was = this.#valueOf(item) ?? null;
    this.#input.value = inputText(this.#field, this.was);
    if (!(this.#input instanceof HTMLSelectElement) && this.#isTyped) this.#input.select();
    this.#isBegun = this.#isTyped;
  }

  serializeValue() {
    const parsed = this.#parsed();
    return "error" in parsed ? this.was : parsed.value;
  }

  /** The page keeps edits apart from rows. */
  applyValue() {}

  isValueChanged() {
    const parsed = this.#parsed();
    return "error" in parsed || !isSame(parsed.value, this.was);
  }

  validate() {
    const parsed = this.#parsed();
    const msg = "error" in parsed ? parsed.error : null;
    this.#input.setAttribute("aria-invalid", String(msg !== null));
    return { valid: msg === null, msg };
  }

  #parsed() {
    return inputValue(this.#field, this.#input.value);
  }
}

/** @param {Field} field @param {Value} value */
function makeInput(field, value) {
  if (field.kind === "select" || field.kind === "boolean") return choiceInput(field);
  // An input of one line would lose the others.
  const hasLines = field.kind === "text" && String(value ?? "").includes("\n");
  if (field.kind === "long_text" || hasLines) {
    const area = document.createElement("textarea");
    area.className = "cell-editor long";
    return area;
  }
  const input = document.createElement("input");
  input.className = "cell-editor";
  input.type = INPUT_TYPES[field.kind] ?? "text";
  if (field.kind === "integer") input.inputMode = "numeric";
  if (field.kind === "number") input.inputMode = "decimal";
  return input;
}

/** @param {Field} field */
function choiceInput(field) {
  const select = document.createElement("select");
  select.className = "cell-editor";
  const options = choicesOf(field).map(([value, text]) =>
    html`<option value=${value}>${text}</option>`
  );
  render(options, select);
  return select;
}

/** @param {Field} field @returns {[string, string][]} */
export function choicesOf(field) {
  const choices = field.kind === "boolean"
    ? /** @type {[string, string][]} */ ([["true", t("form.yes")], ["false", t("form.no")]])
    : (field.options.choices ?? []).map((
      { id, name },
    ) => /** @type {[string, string]} */ ([String(id), name]));
  return [["", ""], ...choices];
}

/** @param {Field} field @param {Value} value @returns {string} as its input has it */
export function inputText(field, value) {
  if (value === null || value === undefined) return "";
  if (field.kind === "select" || field.kind === "boolean") return String(value);
  if (field.kind === "datetime") return toInput("date-time", String(value));
  return plainText(field, value);
}

/** @param {Field} field @param {string} text of its input */
export function inputValue(field, text) {
  if (field.kind === "select") return { value: text === "" ? null : Number(text) };
  if (field.kind === "boolean") return { value: text === "" ? null : text === "true" };
  if (field.kind === "datetime") {
    return { value: text === "" ? null : fromInput("date-time", text) };
  }
  return parseText(field, text);
}
