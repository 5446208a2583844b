/** Panels that change the open view: filter, order, groups, which fields are shown. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { FilterBuilder } from "./filter.js";
import { asGroup, completeFilter, countConditions } from "./filter_tree.js";
import { checkField, idOf, selectField } from "./forms.js";

/**
 * @import { OpenView } from "./view_state.js"
 * @import { Field, Group, Sort } from "./types.d.ts"
 */

const MAX_SORTS = 8;
const MAX_GROUPS = 2;
const PINYIN = "pinyin";
const NOT_SORTED = ["json"];
const SUMMED = ["integer", "number"];
const AGGREGATES = /** @type {const} */ (["sum", "avg", "min", "max"]);

export class ViewPanels {
  #view;
  #fields;
  #onChange;
  /** The tree that is built, incomplete conditions included. @type {Group} */
  #filter;
  #builder;

  /** @param {OpenView} view @param {() => Field[]} fields @param {() => void} onChange */
  constructor(view, fields, onChange) {
    this.#view = view;
    this.#fields = fields;
    this.#onChange = onChange;
    this.#filter = asGroup(view.state.filter);
    this.#builder = new FilterBuilder(fields, () => this.#filterChanged());
  }

  get #sortable() {
    return this.#fields().filter(({ kind }) => !NOT_SORTED.includes(kind));
  }

  #filterChanged() {
    const filter = completeFilter(this.#filter);
    if (JSON.stringify(filter) !== JSON.stringify(this.#view.state.filter)) {
      this.#view.change({ filter: structuredClone(filter) });
    }
    this.#onChange();
  }

  /** One more condition, such as for the value of a cell. @param {import("./types.d.ts").Condition} condition */
  addCondition(condition) {
    const parts = "and" in this.#filter ? this.#filter.and : null;
    if (parts) parts.push(condition);
    else this.#filter = { and: [this.#filter, condition] };
    this.#filterChanged();
  }

  /** @returns {number} */
  get conditions() {
    return countConditions(this.#view.state.filter);
  }

  filterTemplate() {
    return this.#builder.template(this.#filter);
  }

  // --- Order --------------------------------------------------------------------------------------
  sortTemplate() {
    const { sorts } = this.#view.state;
    const [field] = this.#sortable;
    const add = () => this.#view.change({ sorts: [...sorts, { field: field.key, desc: false }] });
    return html`
      <div class="sort-list">
        ${sorts.map((sort, place) => this.#sort(sort, place))}
        <button type="button" class="button small" ?disabled=${sorts.length >= MAX_SORTS || !field}
          @click=${add}>${icon("plus")}${t("tables.add_sort")}</button>
      </div>
      ${checkField({
        label: t("tables.by_pinyin"),
        isOn: this.#view.state.collation === PINYIN,
        onChange: (isOn) => this.#view.change({ collation: isOn ? PINYIN : "" }),
      })}
    `;
  }

  /** @param {Sort} sort @param {number} place */
  #sort(sort, place) {
    const { sorts } = this.#view.state;
    const replace = (/** @type {Sort[]} */ ...instead) =>
      this.#view.change({ sorts: sorts.toSpliced(place, 1, ...instead) });
    const label = t("tables.sort_by", { number: place + 1 });
    return html`
      <div class="sort-line">
        ${selectField({
          id: `sort-field-${place}`,
          label,
          isHidden: true,
          value: sort.field,
          options: this.#sortable.map(({ key, name }) => [key, name]),
          onChange: (field) => replace({ ...sort, field }),
        })}
        ${selectField({
          id: `sort-direction-${place}`,
          label: t("tables.direction"),
          isHidden: true,
          value: sort.desc ? "desc" : "asc",
          options: [["asc", t("tables.ascending")], ["desc", t("tables.descending")]],
          onChange: (direction) => replace({ ...sort, desc: direction === "desc" }),
        })}
        <button type="button" class="icon-button" aria-label=${t("tables.remove_sort")}
          title=${t("tables.remove_sort")} @click=${() => replace()}>${icon("close")}</button>
      </div>
    `;
  }

  // --- Groups -------------------------------------------------------------------------------------
  groupTemplate() {
    const { groups, aggregates } = this.#view.state;
    const options = /** @type {[string, string][]} */ ([
      ["", t("tables.no_group")],
      ...this.#sortable.map(({ key, name }) => /** @type {[string, string]} */ ([key, name])),
    ]);
    const levels = Math.min(groups.length + 1, MAX_GROUPS);
    const summed = this.#fields().filter(({ kind }) => SUMMED.includes(kind));
    return html`
      ${Array.from({ length: levels }, (_, level) =>
        selectField({
          id: `group-${level}`,
          label: t("tables.group_level", { level: level + 1 }),
          value: groups[level]?.field ?? "",
          options,
          onChange: (key) => {
            const others = groups.slice(0, level).filter(({ field }) => field !== key);
            const rest = groups.slice(level + 1).filter(({ field }) => field !== key);
            this.#view.change({ groups: key ? [...others, { field: key }, ...rest] : others });
          },
        }))}
      ${groups.length && summed.length
        ? html`<h3>${t("tables.aggregates")}</h3>${
          summed.map((field) => this.#aggregate(field, aggregates[field.key] ?? ""))
        }`
        : nothing}
    `;
  }

  /** @param {Field} field @param {string} chosen */
  #aggregate(field, chosen) {
    const names = AGGREGATES.map((
      name,
    ) => /** @type {[string, string]} */ ([name, t(`tables.aggregate.${name}`)]));
    return selectField({
      id: idOf(this, field.key),
      label: field.name,
      value: chosen,
      options: [["", t("tables.aggregate.none")], ...names],
      onChange: (name) => {
        const { [field.key]: _, ...others } = this.#view.state.aggregates;
        const aggregates = name ? { ...others, [field.key]: name } : others;
        this.#view.change({ aggregates, groups: this.#view.state.groups });
      },
    });
  }

  // --- Fields -------------------------------------------------------------------------------------
  fieldsTemplate() {
    const { hidden } = this.#view.state;
    const fields = this.#view.fieldsInOrder(this.#fields());
    const show = (/** @type {Field} */ { key }, /** @type {boolean} */ isShown) => {
      const others = hidden.filter((name) => name !== key);
      this.#view.change({ hidden: isShown ? others : [...others, key] });
    };
    return html`
      <div class="field-checks">
        ${fields.map((field) =>
          checkField({
            label: field.name,
            isOn: !hidden.includes(field.key),
            onChange: (isShown) => show(field, isShown),
          })
        )}
      </div>
      <button type="button" class="button small" @click=${() => this.#view.change({ hidden: [] })}>
        ${t("tables.show_all_fields")}
      </button>
    `;
  }
}
