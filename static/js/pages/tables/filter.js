/** The builder of filters: groups of conditions, up to three levels deep. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { choicesOf, inputText, inputValue } from "./editors.js";
import { checkField, idOf, inputField, selectField } from "./forms.js";
import { countConditions, isGroup, MAX_CONDITIONS, partsOf } from "./filter_tree.js";
import { operandOf, operatorsOf, SPANS, STATES } from "./operators.js";

/** @import { Condition, Field, Group } from "./types.d.ts" */

const MAX_LEVELS = 3;
const TIME_ZONE = new Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Changes a tree in place, and says so. */
export class FilterBuilder {
  #fields;
  #onChange;

  /** @param {() => Field[]} fields @param {() => void} onChange */
  constructor(fields, onChange) {
    this.#fields = fields;
    this.#onChange = onChange;
  }

  /** @param {Group} root */
  template(root) {
    return html`<div class="filter-builder">${this.#group(root, root, 1, null)}</div>`;
  }

  /** @param {Group} root @param {Group} group @param {number} level
   * @param {(() => void)|null} remove @returns {unknown} */
  #group(root, group, level, remove) {
    const parts = partsOf(group);
    const isFull = countConditions(root) >= MAX_CONDITIONS;
    const add = (/** @type {Condition|Group} */ part) => {
      parts.push(part);
      this.#onChange();
    };
    return html`
      <fieldset class="filter-group">
        <legend class="visually-hidden">${t("tables.filter_group")}</legend>
        <div class="filter-head">
          ${parts.length > 1 || level > 1 ? this.#junction(group) : nothing}
          ${remove ? removeButton(t("tables.remove_group"), remove) : nothing}
        </div>
        ${parts.map((part, place) => this.#part(root, parts, part, place, level))}
        <div class="filter-actions">
          <button type="button" class="button small" ?disabled=${isFull}
            @click=${() => add(this.#newCondition())}>
            ${icon("plus")}${t("tables.add_condition")}
          </button>
          ${level < MAX_LEVELS
            ? html`
              <button type="button" class="button small" ?disabled=${isFull}
                @click=${() => add({ or: [this.#newCondition()] })}>
                ${icon("plus")}${t("tables.add_group")}
              </button>
            `
            : nothing}
        </div>
      </fieldset>
    `;
  }

  /** @param {Group} root @param {(Condition|Group)[]} parts @param {Condition|Group} part
   * @param {number} place @param {number} level @returns {unknown} */
  #part(root, parts, part, place, level) {
    const remove = () => {
      parts.splice(place, 1);
      this.#onChange();
    };
    if (isGroup(part)) return this.#group(root, part, level + 1, remove);
    return this.#condition(part, remove);
  }

  /** @param {Group} group */
  #junction(group) {
    const change = (/** @type {string} */ name) => {
      const parts = partsOf(group);
      const other = /** @type {any} */ (group);
      delete other.and;
      delete other.or;
      other[name] = parts;
      this.#onChange();
    };
    return selectField({
      id: idOf(group, "junction"),
      label: t("tables.junction"),
      isHidden: true,
      value: "and" in group ? "and" : "or",
      options: [["and", t("tables.all_of")], ["or", t("tables.any_of")]],
      onChange: change,
    });
  }

  /** @returns {Condition} */
  #newCondition() {
    const [field] = this.#fields();
    return { field: field.key, op: operatorsOf(field)[0][0], value: null };
  }

  /** @param {Condition} condition @param {() => void} remove */
  #condition(condition, remove) {
    const fields = this.#fields();
    const field = fields.find(({ key }) => key === condition.field) ?? fields[0];
    const set = (/** @type {Partial<Condition>} */ changes) => {
      Object.assign(condition, changes);
      // Today is not everywhere the same day.
      if (operandOf(field, condition.op) === "span") condition.timezone = TIME_ZONE;
      else delete condition.timezone;
      this.#onChange();
    };
    const choose = (/** @type {string} */ key) => {
      const chosen = fields.find((other) => other.key === key) ?? field;
      set({ field: key, op: operatorsOf(chosen)[0][0], value: null });
    };
    const compare = (/** @type {string} */ op) => {
      const isSame = operandOf(field, op) === operandOf(field, condition.op);
      set({ op, value: isSame ? condition.value : null });
    };
    return html`
      <div class="filter-condition">
        ${selectField({
          id: idOf(condition, "field"),
          label: t("tables.field"),
          isHidden: true,
          value: field.key,
          options: fields.map(({ key, name }) => [key, name]),
          onChange: choose,
        })}
        ${selectField({
          id: idOf(condition, "op"),
          label: t("tables.comparison"),
          isHidden: true,
          value: condition.op,
          options: operatorsOf(field),
          onChange: compare,
        })}
        ${this.#operand(condition, field, (value) => set({ value }))}
        ${removeButton(t("tables.remove_condition"), remove)}
      </div>
    `;
  }

  /** @param {Condition} condition @param {Field} field @param {(value: any) => void} set */
  #operand(condition, field, set) {
    const operand = operandOf(field, condition.op);
    const id = idOf(condition, "value");
    const { value } = condition;
    if (operand === "none") return html`<span></span>`;
    if (operand === "span") {
      return this.#choice(id, value, SPANS.map((name) => [name, t(`tables.span.${name}`)]), set);
    }
    if (operand === "choice") {
      const choose = (/** @type {string} */ text) => set(valueIn(field, text));
      return this.#choice(id, String(value ?? ""), choicesOf(field).slice(1), choose);
    }
    if (operand === "choices") {
      const choices = choicesOf(field).slice(1);
      return this.#several(value, choices, (list) => set(list.map(Number)));
    }
    if (operand === "states") {
      return this.#several(value, STATES.map((name) => [name, t(`tables.cell.${name}`)]), set);
    }
    if (operand === "two") {
      const both = Array.isArray(value) ? value : [null, null];
      return html`
        <div class="filter-two">
          ${this.#input(`${id}-from`, field, both[0], (from) => set([from, both[1]]))}
          ${this.#input(`${id}-to`, field, both[1], (to) => set([both[0], to]))}
        </div>
      `;
    }
    if (operand === "text") {
      return inputField({ id, label: t("tables.value"), isHidden: true, value, onChange: set });
    }
    return this.#input(id, field, value, set);
  }

  /** @param {string} id @param {string} value @param {[string, string][]} options
   * @param {(value: string) => void} onChange */
  #choice(id, value, options, onChange) {
    const all = /** @type {[string, string][]} */ ([["", t("form.choose")], ...options]);
    const label = t("tables.value");
    return selectField({ id, label, isHidden: true, value: value ?? "", options: all, onChange });
  }

  /** @param {any[]|null} chosen @param {[string, string][]} options @param {(list: string[]) => void} set */
  #several(chosen, options, set) {
    const known = (chosen ?? []).map(String);
    return html`
      <div class="filter-several">
        ${options.map(([name, label]) =>
          checkField({
            label,
            isOn: known.includes(name),
            onChange: (isOn) =>
              set(isOn ? [...known, name] : known.filter((other) => other !== name)),
          })
        )}
      </div>
    `;
  }

  /** @param {string} id @param {Field} field @param {any} value @param {(value: any) => void} set */
  #input(id, field, value, set) {
    const types = { date: "date", datetime: "datetime-local", integer: "number", number: "number" };
    return inputField({
      id,
      label: t("tables.value"),
      isHidden: true,
      type: types[/** @type {keyof typeof types} */ (field.kind)],
      value: inputText(field, value),
      onChange: (text) => set(valueIn(field, text)),
    });
  }
}

/** @param {Field} field @param {string} text @returns {any} null where it is none */
function valueIn(field, text) {
  // Addresses are looked for by a part of them.
  if (field.kind === "url" || field.kind === "email") return text || null;
  if (field.kind === "multi_select") return text === "" ? null : Number(text);
  const parsed = inputValue(field, text);
  return "error" in parsed ? null : parsed.value;
}

/** @param {string} label @param {() => void} remove */
function removeButton(label, remove) {
  return html`
    <button type="button" class="icon-button" aria-label=${label} title=${label}
      @click=${remove}>
      ${icon("close")}
    </button>
  `;
}
