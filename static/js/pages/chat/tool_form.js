/** The form in which a tool asks its user in the middle of a call, made from a flat JSON Schema. */

import { html, nothing } from "../../lit.js";
import { t } from "../../i18n/i18n.js";

/**
 * @import { CallOfTool, InputField, InputSchema } from "../../client/types.d.ts"
 */

/** The kinds of boxes for texts of a format. @type {Record<string, string>} */
const BOXES = { email: "email", uri: "url", date: "date" };

/**
 * @param {CallOfTool} call @param {InputSchema} schema
 * @param {string|typeof nothing} problem id of what says why the last answer was refused
 */
export function fieldsOf({ id: callId }, schema, problem) {
  return Object.entries(schema.properties).map(([name, field], place) => {
    const id = `input-${callId}-${place}`;
    const help = field.description ? `${id}-help` : "";
    const describedBy = [help, problem].filter((part) => typeof part === "string" && part);
    const control = controlOf(field, {
      id,
      name,
      isRequired: schema.required.includes(name),
      describedBy: describedBy.join(" ") || nothing,
    });
    const label = html`<label for=${id}>${field.title ?? name}</label>`;
    return html`
      <div class="field ${field.type === "boolean" ? "yes-no" : ""}">
        ${field.type === "boolean" ? [control, label] : [label, control]}
        ${help ? html`<p class="muted" id=${help}>${field.description}</p>` : nothing}
      </div>
    `;
  });
}

/**
 * @typedef {object} Attributes
 * @property {string} id
 * @property {string} name
 * @property {boolean} isRequired
 * @property {string|typeof nothing} describedBy
 *
 * @param {InputField} field @param {Attributes} attributes
 */
function controlOf(field, { id, name, isRequired, describedBy }) {
  if (field.type === "boolean") {
    return html`
      <input type="checkbox" id=${id} name=${name} ?checked=${field.default === true}
        aria-describedby=${describedBy}>
    `;
  }
  if (field.enum) {
    const titles = field.enumNames ?? field.enum;
    return html`
      <select id=${id} name=${name} ?required=${isRequired} aria-describedby=${describedBy}>
        <option value="">${t("tools.choose")}</option>
        ${field.enum.map((value, place) =>
          html`<option value=${place} ?selected=${value === field.default}>${
            titles[place]
          }</option>`
        )}
      </select>
    `;
  }
  const isNumber = field.type !== "string";
  return html`
    <input id=${id} name=${name} ?required=${isRequired}
      type=${isNumber ? "number" : BOXES[field.format ?? ""] ?? "text"}
      step=${isNumber ? (field.type === "integer" ? "1" : "any") : nothing}
      min=${field.minimum ?? nothing} max=${field.maximum ?? nothing}
      minlength=${field.minLength ?? nothing} maxlength=${field.maxLength ?? nothing}
      value=${field.default ?? nothing} aria-describedby=${describedBy}>
  `;
}

/**
 * What was filled in. Boxes that were left empty are left out.
 *
 * @param {FormData} given @param {InputSchema} schema
 * @returns {Record<string, string|number|boolean>}
 */
export function answerOf(given, schema) {
  /** @type {Record<string, string|number|boolean>} */
  const answer = {};
  for (const [name, field] of Object.entries(schema.properties)) {
    const text = String(given.get(name) ?? "");
    if (field.type === "boolean") answer[name] = given.has(name);
    else if (text === "") continue;
    else if (field.enum) answer[name] = field.enum[Number(text)];
    else answer[name] = field.type === "string" ? text : Number(text);
  }
  return answer;
}
