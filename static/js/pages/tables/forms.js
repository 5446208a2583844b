/** Inputs of the dialogs and panels, each with its label. */

import { html, nothing } from "../../lit.js";

let count = 0;
/** @type {WeakMap<object, string>} ids have to stay the same while a template is drawn again */
const ids = new WeakMap();

/** @param {object} owner @param {string} name @returns {string} */
export function idOf(owner, name) {
  const id = ids.get(owner) ?? `t${++count}`;
  ids.set(owner, id);
  return `${id}-${name}`;
}

/**
 * @typedef {object} InputParts
 * @property {string} id
 * @property {string} label
 * @property {any} value
 * @property {(value: string) => void} onChange
 * @property {string} [type]
 * @property {string} [mode] the keyboard of a phone
 * @property {string} [help]
 * @property {string} [error]
 * @property {boolean} [isLong]
 * @property {boolean} [isHidden] its label is heard only
 */

/** @param {InputParts} parts */
export function inputField(
  { id, label, value, onChange, type, mode, help, error, isLong, isHidden },
) {
  const change = (/** @type {any} */ { target }) => onChange(target.value);
  const described = `${id}-help ${id}-error`;
  const invalid = String(Boolean(error));
  return html`
    <div class="field">
      <label for=${id} class=${isHidden ? "visually-hidden" : ""} dir="auto">${label}</label>
      ${isLong
        ? html`
          <textarea id=${id} rows="3" dir="auto" .value=${value ?? ""} aria-invalid=${invalid}
            aria-describedby=${described} @input=${change}></textarea>
        `
        : html`
          <input id=${id} type=${type ?? "text"} inputmode=${mode ?? nothing} dir="auto"
            autocomplete="off" step="any" .value=${value ?? ""} aria-invalid=${invalid}
            aria-describedby=${described} @input=${change}>
        `}
      <p class="field-help" id="${id}-help">${help ?? ""}</p>
      <p class="field-error" id="${id}-error">${error ?? ""}</p>
    </div>
  `;
}

/**
 * @typedef {object} SelectParts
 * @property {string} id
 * @property {string} label
 * @property {string} value
 * @property {[string, string][]} options values and what they are called
 * @property {(value: string) => void} onChange
 * @property {string} [help]
 * @property {boolean} [isHidden] its label is heard only
 */

/** @param {SelectParts} parts */
export function selectField({ id, label, value, options, onChange, help, isHidden }) {
  const change = (/** @type {any} */ { target }) => onChange(target.value);
  return html`
    <div class="field">
      <label for=${id} class=${isHidden ? "visually-hidden" : ""} dir="auto">${label}</label>
      <select id=${id} @change=${change} aria-describedby="${id}-help">
        ${options.map(([name, text]) =>
          html`<option value=${name} .selected=${name === value}>${text}</option>`
        )}
      </select>
      <p class="field-help" id="${id}-help">${help ?? ""}</p>
    </div>
  `;
}

/** @param {{label: string, isOn: boolean, onChange: (isOn: boolean) => void}} parts */
export function checkField({ label, isOn, onChange }) {
  const change = (/** @type {any} */ { target }) => onChange(target.checked);
  return html`
    <label class="check-field">
      <input type="checkbox" .checked=${isOn} @change=${change}><span dir="auto">${label}</span>
    </label>
  `;
}
