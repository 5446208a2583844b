/** One field of a scene's form: the input that a property of its JSON Schema asks for. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";

/**
 * @import { Schema } from "../../store/types.d.ts"
 * @typedef {"choice"|"boolean"|"integer"|"number"|"text"|"line"|"json"} Kind
 * @typedef {HTMLInputElement & HTMLSelectElement & HTMLTextAreaElement} Input one of the three
 *
 * @typedef {object} Field
 * @property {string} name
 * @property {Kind} kind
 * @property {Schema} property
 * @property {boolean} isRequired
 */

const LONG_TEXT_CHARS = 200;

/** A value that cannot be read as its schema asks; `field` names it. */
export class FieldError extends Error {
  /** @param {string} field @param {string} message */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** @param {Schema} schema of an object @returns {Field[]} */
export function fieldsOf(schema) {
  const properties = schema.properties ?? {};
  const required = new Set(schema.required ?? []);
  // The database forgets the order of properties, but not that of the required ones.
  const names = new Set([...required, ...Object.keys(properties)]);
  return [...names].filter((name) => name in properties).map((name) => {
    const property = properties[name];
    return { name, property, kind: kindOf(property), isRequired: required.has(name) };
  });
}

/** @param {Schema} property @returns {Kind} */
function kindOf({ type, enum: choices, maxLength, format }) {
  if (choices) return "choice";
  if (type === "boolean" || type === "integer" || type === "number") return type;
  if (type === "string" || type === undefined) {
    const isLong = format === undefined && (maxLength ?? Infinity) > LONG_TEXT_CHARS;
    return isLong ? "text" : "line";
  }
  return "json";
}

/**
 * @param {Field} field @param {boolean} isMain the one with the most room
 * @param {string} error empty where there is none
 */
export function fieldTemplate(field, isMain, error) {
  const { name, kind, property, isRequired } = field;
  const id = `variable-${name}`;
  const optional = html`<span class="optional">${t("form.optional")}</span>`;
  const label = html`
    <label for=${id}>
      ${property.title ?? titleOf(name)}
      ${!isRequired && kind !== "boolean" ? optional : nothing}
    </label>
  `;
  const input = inputTemplate(field, id, isMain, error);
  return html`
    <div class="field ${kind}">
      ${kind === "boolean" ? [input, label] : [label, input]}
      <p class="field-help" id="${id}-help">${property.description ?? ""}</p>
      <p class="field-error" id="${id}-error">${error}</p>
    </div>
  `;
}

/** @param {Field} field @param {string} id @param {boolean} isMain @param {string} error */
function inputTemplate({ name, kind, property, isRequired }, id, isMain, error) {
  const { minimum, maximum, minLength, maxLength, examples } = property;
  const hint = examples?.length ? t("form.example", { example: String(examples[0]) }) : nothing;
  const described = `${id}-help ${id}-error`;
  const invalid = String(error !== "");
  if (kind === "choice") {
    return html`
      <select id=${id} name=${name} ?required=${isRequired} aria-describedby=${described}
        aria-invalid=${invalid}>
        ${isRequired ? nothing : html`<option value="">—</option>`}
        ${property.enum?.map((choice, index) => html`<option value=${index}>${choice}</option>`)}
      </select>
    `;
  }
  if (kind === "boolean") {
    return html`<input type="checkbox" id=${id} name=${name} aria-describedby=${described}>`;
  }
  if (kind === "integer" || kind === "number") {
    return html`
      <input type="number" id=${id} name=${name} inputmode="decimal" ?required=${isRequired}
        step=${kind === "integer" ? "1" : "any"} min=${minimum ?? nothing}
        max=${maximum ?? nothing} placeholder=${hint} aria-describedby=${described}
        aria-invalid=${invalid}>
    `;
  }
  if (kind === "line") {
    return html`
      <input type="text" id=${id} name=${name} dir="auto" ?required=${isRequired}
        minlength=${minLength ?? nothing} maxlength=${maxLength ?? nothing} placeholder=${hint}
        aria-describedby=${described} aria-invalid=${invalid}>
    `;
  }
  return html`
    <textarea id=${id} name=${name} dir="auto" rows="1" class=${isMain ? "main-text" : ""}
      ?required=${isRequired} minlength=${minLength ?? nothing} maxlength=${maxLength ?? nothing}
      placeholder=${hint} aria-describedby=${described} aria-invalid=${invalid}></textarea>
  `;
}

/** @param {Field} field @param {Input} input @param {unknown} value */
export function write({ kind }, input, value) {
  if (kind === "boolean") input.checked = Boolean(value);
  else if (kind === "choice") {
    input.selectedIndex = [...input.options].findIndex(({ text }) => text === String(value));
  } else input.value = kind === "json" ? JSON.stringify(value, null, 2) : String(value);
}

/** @param {Field} field @param {Input} input @returns {any} undefined: optional, and left empty */
export function read({ name, kind, property, isRequired }, input) {
  if (kind === "boolean") return input.checked;
  if (input.value === "" && !isRequired) return undefined;
  if (kind === "choice") return property.enum?.[Number(input.value)];
  if (kind === "integer" || kind === "number") return input.valueAsNumber;
  if (kind !== "json") return input.value;
  try {
    return JSON.parse(input.value);
  } catch {
    throw new FieldError(name, t("form.not_json"));
  }
}

/** @param {string} name such as "target_language" */
function titleOf(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
