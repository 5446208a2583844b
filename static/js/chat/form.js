/** A form made from a scene's JSON Schema, and the variables read from it. */

import { h } from "./dom.js";

const LONG_TEXT_CHARS = 200;

/**
 * @param {object} schema JSON Schema of an object
 * @returns {{element: HTMLElement, read: () => object, fill: (variables: object) => void,
 *   focus: () => void, showError: (name: string, message: string) => boolean}} `read` throws
 *   FieldError for a value that is not what its schema asks for; `showError` is false when there is
 *   no such field
 */
export function createForm(schema) {
  const properties = schema.properties ?? {};
  const required = new Set(schema.required ?? []);
  // The database forgets the order of properties, but not that of the required ones.
  const names = [...new Set([...required, ...Object.keys(properties)])].filter(
    (name) => name in properties,
  );
  const fields = names.map((name) => createField(name, properties[name], required.has(name)));
  // Of several texts the first is the material, for which there should be room.
  const main = fields.find(({ input }) => input.localName === "textarea");
  main?.input.classList.add("main-text");
  const find = (name) => fields.find((field) => field.name === name);
  const read = () => {
    const variables = {};
    for (const field of fields) {
      const value = field.read();
      if (value !== undefined) variables[field.name] = value;
    }
    return variables;
  };
  const showError = (name, message) => {
    for (const field of fields) field.setError(field.name === name ? message : "");
    find(name)?.input.focus();
    return find(name) !== undefined;
  };
  const fill = (variables) => {
    for (const field of fields) if (field.name in variables) field.fill(variables[field.name]);
  };
  const focus = () => fields[0]?.input.focus();
  const element = h("div", { class: "fields" }, ...fields.map((field) => field.element));
  return { element, read, fill, focus, showError };
}

/** A value that cannot be read as its schema asks; `field` names it. */
export class FieldError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

function createField(name, property, isRequired) {
  const id = `variable-${name}`;
  const kind = kindOf(property);
  const input = createInput(kind, property, isRequired);
  input.id = id;
  input.name = name;
  if (kind !== "boolean") input.required = isRequired;
  input.setAttribute("aria-describedby", `${id}-help ${id}-error`);
  if (property.default !== undefined) write(kind, input, property.default);
  const optional =
    !isRequired && kind !== "boolean" && h("span", { class: "optional" }, "optional");
  const label = h("label", { for: id }, property.title ?? labelOf(name), optional);
  const help = h("p", { class: "field-help", id: `${id}-help` }, property.description ?? "");
  const error = h("p", { class: "field-error", id: `${id}-error` });
  const setError = (message) => {
    error.textContent = message;
    input.setAttribute("aria-invalid", String(message !== ""));
  };
  input.addEventListener("input", () => setError(""));
  const parts = kind === "boolean" ? [input, label] : [label, input];
  return {
    name,
    input,
    setError,
    element: h("div", { class: `field ${kind}` }, ...parts, help, error),
    read: () => readValue(kind, input, name, property, isRequired),
    fill: (value) => write(kind, input, value),
  };
}

function kindOf({ type, enum: choices, maxLength, format }) {
  if (choices) return "choice";
  if (type === "boolean" || type === "integer" || type === "number") return type;
  if (type === "string" || type === undefined) {
    const isLong = format === undefined && (maxLength ?? Infinity) > LONG_TEXT_CHARS;
    return isLong ? "text" : "line";
  }
  return "json";
}

function createInput(
  kind,
  { enum: choices, minimum, maximum, minLength, maxLength, examples },
  isRequired,
) {
  const placeholder = examples?.length ? `For example: ${examples[0]}` : null;
  if (kind === "choice") {
    const none = !isRequired && h("option", { value: "" }, "—");
    return h(
      "select",
      {},
      none,
      ...choices.map((choice, index) => h("option", { value: index }, String(choice))),
    );
  }
  if (kind === "boolean") return h("input", { type: "checkbox" });
  if (kind === "integer" || kind === "number") {
    const step = kind === "integer" ? 1 : "any";
    return h("input", {
      type: "number",
      inputmode: "decimal",
      step,
      min: minimum,
      max: maximum,
      placeholder,
    });
  }
  if (kind === "line")
    return h("input", { type: "text", minlength: minLength, maxlength: maxLength, placeholder });
  return h("textarea", { rows: 1, minlength: minLength, maxlength: maxLength, placeholder });
}

function write(kind, input, value) {
  if (kind === "boolean") input.checked = Boolean(value);
  else if (kind === "choice")
    input.selectedIndex = [...input.options].findIndex((o) => o.text === String(value));
  else input.value = kind === "json" ? JSON.stringify(value, null, 2) : String(value);
}

/** @returns {any} undefined for an optional field left empty */
function readValue(kind, input, name, property, isRequired) {
  if (kind === "boolean") return input.checked;
  if (input.value === "" && !isRequired) return undefined;
  if (kind === "choice") return property.enum[input.value];
  if (kind === "integer" || kind === "number") return input.valueAsNumber;
  if (kind !== "json") return input.value;
  try {
    return JSON.parse(input.value);
  } catch {
    throw new FieldError(name, "This has to be JSON.");
  }
}

function labelOf(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
