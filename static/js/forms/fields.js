/** Inputs of a form: one template for each kind of node. */

import { t } from "../i18n/i18n.js";
import { html, nothing } from "../lit.js";
import { initial, isThreefold, mayLack, pathTo } from "./values.js";

/**
 * @import { Node, State } from "./types.d.ts"
 *
 * @typedef {object} Context of a whole form
 * @property {string} prefix of the ids of its inputs
 * @property {(path: string) => string} errorAt empty where there is none
 * @property {(path: string) => void} onChange the state at a path has changed
 *
 * @typedef {object} Slot where a node stands, and where its state is kept
 * @property {Node} node
 * @property {string} path
 * @property {boolean} isRequired
 * @property {boolean} isMain the one text with the most room
 * @property {string} label
 * @property {any} state
 * @property {(state: State) => void} set
 */

/** Inputs of formats; other texts are lines. */
const INPUT_TYPES = /** @type {Record<string, string>} */ ({
  "date": "date",
  "date-time": "datetime-local",
  "time": "time",
  "email": "email",
  "uri": "url",
  "password": "password",
});

/** @param {Context} context @param {Slot} slot @returns {unknown} */
export function fieldTemplate(context, slot) {
  const { kind } = slot.node;
  if (kind === "object") return objectTemplate(context, slot);
  if (kind === "list") return listTemplate(context, slot);
  if (kind === "variants") return variantsTemplate(context, slot);
  return inputField(context, slot);
}

/** @param {Context} context @param {Extract<Node, {kind: "object"}>} node
 * @param {{states: State[]}} state @param {string} path @param {string|null} [mainPath]
 * @returns {unknown[]} */
export function membersTemplate(context, node, state, path, mainPath = null) {
  return node.members.map(({ name, isRequired, node: member }, index) => {
    // There is nothing to choose.
    if (isRequired && member.kind === "choice" && member.choices.length === 1) return nothing;
    const inner = pathTo(path, name);
    return fieldTemplate(context, {
      node: member,
      path: inner,
      isRequired,
      isMain: inner === mainPath,
      label: member.title,
      state: state.states[index],
      set: (/** @type {State} */ next) => (state.states[index] = next),
    });
  });
}

// --- One input ----------------------------------------------------------------------------------
/** @param {Context} context @param {Slot} slot */
function inputField(context, slot) {
  const { node, isRequired, path } = slot;
  const id = idOf(context, path);
  const isCheckbox = node.kind === "boolean" && !isThreefold(node);
  const isOptional = !isCheckbox && mayLack(node, isRequired);
  const label = html`
    <label for=${id}>
      ${slot.label}
      ${isOptional ? optionalMark() : nothing}
      ${node.kind === "json" ? html`<span class="optional">${t("form.json")}</span>` : nothing}
    </label>
  `;
  const input = inputTemplate(context, slot, id);
  return html`
    <div class="field ${isCheckbox ? "boolean" : node.kind}">
      ${isCheckbox ? [input, label] : [label, input]}
      ${notes(context, slot, id)}
    </div>
  `;
}

function optionalMark() {
  return html`<span class="optional">${t("form.optional")}</span>`;
}

/** @param {Context} context @param {Slot} slot @param {string} id */
function notes(context, { node, path }, id) {
  return html`
    <p class="field-help" id="${id}-help">${node.description}</p>
    <p class="field-error" id="${id}-error">${context.errorAt(path)}</p>
  `;
}

/** Paths may have any character. @param {Pick<Context, "prefix">} context @param {string} path */
export function idOf({ prefix }, path) {
  return `${prefix}-${encodeURIComponent(path).replaceAll("%", "_")}`;
}

/** @param {Context} context @param {Slot} slot @param {string} id */
function inputTemplate(context, slot, id) {
  const { node, path, state, isRequired, isMain, set } = slot;
  const described = `${id}-help ${id}-error`;
  const invalid = String(context.errorAt(path) !== "");
  /** @param {Event} event */
  const change = ({ target }) => {
    const input = /** @type {HTMLInputElement} */ (target);
    set(input.type === "checkbox" ? input.checked : input.value);
    context.onChange(path);
  };
  if (node.kind === "choice" || isThreefold(node)) {
    const isOpen = mayLack(node, isRequired) || state === "";
    return html`
      <select id=${id} aria-describedby=${described} aria-invalid=${invalid} @change=${change}
        aria-required=${String(isRequired)} ?disabled=${isFixed(node)}>
        ${isOpen ? optionTemplate("", emptyLabel(slot), state) : nothing}
        ${optionsOf(node).map(([value, label]) => optionTemplate(value, label, state))}
      </select>
    `;
  }
  if (node.kind === "boolean") {
    return html`
      <input type="checkbox" id=${id} .checked=${state} aria-describedby=${described}
        ?disabled=${isFixed(node)} @change=${change}>
    `;
  }
  const hint = hintOf(node);
  if (node.kind === "text" || node.kind === "json") {
    return html`
      <textarea id=${id} dir="auto" rows="1" class=${isMain ? "main-text" : ""} .value=${state}
        spellcheck=${node.kind === "json" ? "false" : nothing} placeholder=${hint}
        aria-required=${String(isRequired)} aria-describedby=${described}
        aria-invalid=${invalid} ?readonly=${isFixed(node)} @input=${change}></textarea>
    `;
  }
  const isNumber = node.kind === "integer" || node.kind === "number";
  const type = isNumber ? "text" : INPUT_TYPES[node.schema.format ?? ""] ?? "text";
  return html`
    <input type=${type} id=${id} dir=${isNumber ? nothing : "auto"} .value=${state}
      step=${type.includes("time") ? "1" : nothing} placeholder=${hint}
      inputmode=${isNumber ? inputMode(node) : nothing} aria-required=${String(isRequired)}
      aria-describedby=${described} aria-invalid=${invalid} ?readonly=${isFixed(node)}
      @input=${change}>
  `;
}

/** What only the author writes is shown, and sent, as it is. @param {Node} node */
function isFixed({ schema }) {
  return schema.readOnly === true && schema.default !== undefined;
}

/** Keyboards of phones with digits may lack the minus. @param {Node} node */
function inputMode({ kind, schema }) {
  if (!(Number(schema.minimum ?? -1) >= 0)) return "text";
  return kind === "integer" ? "numeric" : "decimal";
}

/** @param {Node} node */
function hintOf({ schema }) {
  const example = Array.isArray(schema.examples) ? schema.examples[0] : undefined;
  if (example === undefined || (typeof example === "object" && example !== null)) return nothing;
  return t("form.example", { example: String(example) });
}

/** @param {Slot} slot */
function emptyLabel({ node, isRequired }) {
  return mayLack(node, isRequired) ? t("form.none") : t("form.choose");
}

/** @param {Node} node @returns {string[][]} values and labels */
function optionsOf(node) {
  if (node.kind === "choice") return node.choices.map(({ label }, index) => [String(index), label]);
  return [["true", t("form.yes")], ["false", t("form.no")]];
}

/** @param {string} value @param {string} label @param {unknown} chosen */
function optionTemplate(value, label, chosen) {
  return html`<option value=${value} .selected=${value === chosen}>${label}</option>`;
}

// --- Several inputs -----------------------------------------------------------------------------
/** @param {Context} context @param {Slot} slot */
function objectTemplate(context, slot) {
  const { node, path, state, isRequired } = slot;
  if (node.kind !== "object") return nothing;
  const canLack = mayLack(node, isRequired);
  const toggle = () => {
    state.given = !state.given;
    context.onChange(path);
  };
  const label = t(state.given ? "form.leave_out" : "form.give");
  const members = state.given ? membersTemplate(context, node, state, path) : nothing;
  const button = canLack
    ? html`
      <button type="button" class="button small" aria-label="${label}: ${slot.label}"
        aria-expanded=${String(state.given)} @click=${toggle}>${label}</button>
    `
    : nothing;
  return group(context, slot, html`${members} ${button}`);
}

/** @param {Context} context @param {Slot} slot @param {unknown} content */
function group(context, slot, content) {
  const id = idOf(context, slot.path);
  return html`
    <fieldset class="field group" id=${id} tabindex="-1"
      aria-describedby="${id}-help ${id}-error">
      <legend>
        ${slot.label} ${mayLack(slot.node, slot.isRequired) ? optionalMark() : nothing}
      </legend>
      ${notes(context, slot, id)} ${content}
    </fieldset>
  `;
}

/** @param {Context} context @param {Slot} slot */
function listTemplate(context, slot) {
  const { node, path, state } = slot;
  if (node.kind !== "list") return nothing;
  const { items } = state;
  const add = () => {
    items.push(initial(node.item()));
    context.onChange(path);
  };
  const remove = (/** @type {number} */ index) => {
    items.splice(index, 1);
    context.onChange(path);
  };
  const isFull = items.length >= (node.schema.maxItems ?? Infinity);
  return group(
    context,
    slot,
    html`
      ${items.map((/** @type {State} */ item, /** @type {number} */ index) =>
        itemTemplate(context, slot, item, index, remove)
      )}
      <button type="button" class="button small" ?disabled=${isFull} @click=${add}
        aria-label="${t("form.add")}: ${slot.label}">${t("form.add")}</button>
    `,
  );
}

/**
 * @param {Context} context @param {Slot} slot @param {State} item @param {number} index
 * @param {(index: number) => void} remove
 */
function itemTemplate(context, { node, path, state }, item, index, remove) {
  if (node.kind !== "list") return nothing;
  const label = t("form.item", { number: index + 1 });
  return html`
    <div class="list-item">
      ${fieldTemplate(context, {
        node: node.item(),
        path: pathTo(path, index),
        isRequired: true,
        isMain: false,
        label,
        state: item,
        set: (next) => (state.items[index] = next),
      })}
      <button type="button" class="text-button" aria-label="${t("form.remove")}: ${label}"
        @click=${() => remove(index)}>${t("form.remove")}</button>
    </div>
  `;
}

/** @param {Context} context @param {Slot} slot */
function variantsTemplate(context, slot) {
  const { node, path, state } = slot;
  if (node.kind !== "variants") return nothing;
  const chosen = node.variants[state.variant];
  const change = (/** @type {Event} */ { target }) => {
    state.variant = Number(/** @type {HTMLSelectElement} */ (target).value);
    context.onChange(path);
  };
  const current = String(state.variant);
  const isOpen = mayLack(node, slot.isRequired) || !chosen;
  const choice = html`
    <select aria-label=${t("form.kind", { title: slot.label })} @change=${change}>
      ${isOpen ? optionTemplate("-1", emptyLabel(slot), current) : nothing}
      ${node.variants.map((variant, index) =>
        optionTemplate(String(index), nameOf(variant, index), current)
      )}
    </select>
  `;
  return group(context, slot, html`${choice} ${chosen ? inner(context, slot, chosen) : nothing}`);
}

/** @param {Context} context @param {Slot} slot @param {Node} chosen @returns {unknown} */
function inner(context, { path, state, label }, chosen) {
  const states = state.states;
  if (chosen.kind === "object") {
    return membersTemplate(context, chosen, states[state.variant], path);
  }
  return fieldTemplate(context, {
    node: { ...chosen, description: chosen.description },
    path,
    isRequired: true,
    isMain: false,
    label: chosen.title || label,
    state: states[state.variant],
    set: (next) => (states[state.variant] = next),
  });
}

/** @param {Node} variant @param {number} index */
function nameOf(variant, index) {
  if (variant.title) return variant.title;
  const { type } = variant.schema;
  const name = /** @type {Record<string, string>} */ ({
    string: t("form.type_string"),
    integer: t("form.type_integer"),
    number: t("form.type_number"),
    boolean: t("form.type_boolean"),
    array: t("form.type_array"),
    object: t("form.type_object"),
  })[String(type)];
  return name ?? t("form.variant", { number: index + 1 });
}
