/** Which column of a file, or field of a table, each variable of a scene is taken from. */

import { nodeOf } from "../../forms/nodes.js";
import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { textOf } from "./row.js";

/**
 * @import { Mapping, RunRow } from "../../client/types.d.ts"
 * @import { Member } from "../../forms/types.d.ts"
 * @import { Scene } from "../../store/types.d.ts"
 *
 * @typedef {{kind: "column"|"value"|"examples"|"none", text: string}} Source examples: their number
 */

/** What a select has for "a fixed value"; columns have their place. */
const FIXED = "value";
const EXAMPLES = "examples";
/** Answers that a variable can be given as examples. */
const MAX_EXAMPLES = 20;
const USUAL_EXAMPLES = "5";
const TEXTS = ["text", "line", "choice"];

export class MappingForm {
  /** Whether good answers can be given as examples: those of an AI field. */
  hasExamples = false;
  #columns;
  #nameOf;
  /** @type {Member[]} */
  #variables;
  /** @type {Map<string, Source>} by the variable's name */
  #sources = new Map();

  /**
   * @param {Scene|undefined} scene @param {string[]} columns @param {Mapping} mapping
   * @param {(column: string) => string} [nameOf] what a column is called
   */
  constructor(scene, columns, mapping, nameOf = (column) => column) {
    const node = nodeOf(scene?.variables_schema);
    this.#columns = columns;
    this.#nameOf = nameOf;
    this.#variables = scene && node.kind === "object" ? node.members : [];
    const isNew = Object.keys(mapping).length === 0;
    for (const { name, isRequired } of this.#variables) {
      const source = isNew ? this.#guess(name, isRequired) : sourceOf(mapping[name]);
      this.#sources.set(name, source);
    }
  }

  /** @param {string} name @param {boolean} isRequired @returns {Source} */
  #guess(name, isRequired) {
    const wanted = plain(name);
    const isOnly = isRequired && this.#columns.length === 1 && this.#variables.length === 1;
    const text = isOnly
      ? this.#columns[0]
      : this.#columns.find((column) => plain(this.#nameOf(column)) === wanted);
    return text === undefined ? { kind: "none", text: "" } : { kind: "column", text };
  }

  /** @returns {boolean} a variable that is needed has no source yet */
  get isIncomplete() {
    return this.#variables.some(({ name, isRequired }) =>
      isRequired && this.#sources.get(name)?.kind === "none"
    ) || [...this.#sources.values()].some(isWrongNumber);
  }

  /** @returns {Mapping} */
  get value() {
    /** @type {Mapping} */
    const mapping = {};
    for (const { name, node } of this.#variables) {
      const { kind, text } = this.#sources.get(name) ?? { kind: "none", text: "" };
      if (kind === "column") mapping[name] = text;
      if (kind === "value") mapping[name] = { value: constant(text, node.kind) };
      if (kind === "examples") mapping[name] = { examples: Number(text) };
    }
    return mapping;
  }

  /**
   * @param {RunRow|undefined} first whose values are shown beside
   * @param {Record<string, string>} errors by "mapping.<variable>"
   * @param {() => void} onChange
   */
  template(first, errors, onChange) {
    if (this.#variables.length === 0) {
      return html`<p class="muted">${t("runs.by_name")}</p>`;
    }
    return html`
      <fieldset class="mapping">
        <legend>${t("runs.mapping")}</legend>
        ${this.#variables.map((variable, index) =>
          this.#field(variable, index, first, errors, onChange)
        )}
      </fieldset>
    `;
  }

  /**
   * @param {Member} variable @param {number} index @param {RunRow|undefined} first
   * @param {Record<string, string>} errors @param {() => void} onChange
   */
  #field({ name, isRequired, node }, index, first, errors, onChange) {
    const source = this.#sources.get(name) ?? { kind: "none", text: "" };
    const id = `mapping-${index}`;
    const change = (/** @type {any} */ { target }) => {
      this.#sources.set(name, this.#chosen(target.value));
      onChange();
    };
    const write = (/** @type {any} */ { target }) => {
      this.#sources.set(name, { ...source, text: target.value });
      onChange();
    };
    const error = errors[`mapping.${name}`] ??
      (isWrongNumber(source) ? t("tables.count_of", { count: MAX_EXAMPLES }) : "");
    const example = source.kind === "column" ? first?.payload?.[source.text] : undefined;
    const isOpen = isRequired && source.kind === "none";
    return html`
      <div class="field">
        <label for=${id}>
          ${node.title || name}
          ${isRequired ? nothing : html`<span class="optional">${t("form.optional")}</span>`}
        </label>
        <select id=${id} @change=${change} aria-describedby="${id}-help ${id}-error"
          aria-required=${String(isRequired)} aria-invalid=${String(error !== "")}>
          ${option("", t(isOpen ? "form.choose" : "runs.not_given"), source.kind === "none")}
          ${this.#columns.map((column, place) =>
            option(
              String(place),
              this.#nameOf(column),
              source.kind === "column" && source.text === column,
            )
          )}
          ${option(FIXED, t("runs.fixed"), source.kind === "value")}
          ${this.hasExamples
            ? option(EXAMPLES, t("tables.examples"), source.kind === "examples")
            : nothing}
        </select>
        ${source.kind === "value"
          ? html`
            <input type="text" dir="auto" aria-label="${t("runs.fixed")}: ${name}"
              .value=${source.text} @change=${write}>
          `
          : nothing}
        ${source.kind === "examples"
          ? html`
            <input type="text" inputmode="numeric" aria-label="${t(
              "tables.examples_number",
            )}: ${name}"
              .value=${source.text} @change=${write}>
            <p class="field-help">${t("tables.examples_help")}</p>
          `
          : nothing}
        <p class="field-help example" id="${id}-help" dir="auto">${example === undefined
          ? ""
          : t("form.example", { example: textOf(example) })}</p>
        <p class="field-error" id="${id}-error">${error}</p>
      </div>
    `;
  }

  /** @param {string} value of a select @returns {Source} */
  #chosen(value) {
    if (value === "") return { kind: "none", text: "" };
    if (value === FIXED) return { kind: "value", text: "" };
    if (value === EXAMPLES) return { kind: "examples", text: USUAL_EXAMPLES };
    return { kind: "column", text: this.#columns[Number(value)] };
  }
}

/** @param {Mapping[string]|undefined} mapped @returns {Source} */
function sourceOf(mapped) {
  if (mapped === undefined) return { kind: "none", text: "" };
  if (typeof mapped === "string") return { kind: "column", text: mapped };
  if ("examples" in mapped) return { kind: "examples", text: String(mapped.examples) };
  return { kind: "value", text: textOf(mapped.value) };
}

/** @param {Source} source */
function isWrongNumber({ kind, text }) {
  const number = Number(text.trim() || NaN);
  return kind === "examples" &&
    !(Number.isInteger(number) && number >= 1 && number <= MAX_EXAMPLES);
}

/** @param {string} value @param {string} label @param {boolean} isChosen */
function option(value, label, isChosen) {
  return html`<option value=${value} .selected=${isChosen}>${label}</option>`;
}

/** @param {string} name @returns {string} by which names of columns and variables are compared */
function plain(name) {
  return name.toLowerCase().replace(/[\s_-]+/g, "");
}

/** @param {string} text @param {string} kind of the variable @returns {unknown} */
function constant(text, kind) {
  if (TEXTS.includes(kind)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
