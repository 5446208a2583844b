/** What can be done with a field: its menu, and the dialogs behind it. */

import { isKey, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { errorText } from "../../ui/notice.js";
import { idOf, inputField, selectField } from "./forms.js";
import { openMenu } from "./menu.js";
import { Sheet } from "./sheet.js";
import { KINDS, UNLINKED_KINDS } from "./values.js";

/**
 * @import { TablesApi } from "./api.js"
 * @import { OpenView } from "./view_state.js"
 * @import { Choice, Field, Kind, TableData, TableItem } from "./types.d.ts"
 *
 * @typedef {object} FieldTools
 * @property {TablesApi} api
 * @property {() => TableData} table
 * @property {() => OpenView} view
 * @property {boolean} mayEdit
 * @property {() => Promise<void>} reload fields have changed
 * @property {(message: string, undo?: () => Promise<unknown>) => void} say
 * @property {(field: Field) => void} onAiField its AI field is to be changed, or run
 * @property {(field: Field) => void} onFilter
 * @property {() => void} onClosed a dialog of a field is closed
 */

const WITH_CHOICES = ["select", "multi_select"];
const RETYPE_POLL_MS = 500;
const MAX_CHOICES = 1_000;

/** @param {Field} field @param {Element} anchor @param {FieldTools} tools */
export function openFieldMenu(field, anchor, tools) {
  const view = tools.view();
  const { hidden, groups, sorts } = view.state;
  const fields = tools.table().fields;
  const shown = view.fieldsShown(fields);
  const place = shown.findIndex(({ key }) => key === field.key);
  const isGrouped = groups.some((group) => group.field === field.key);
  const isSorted = field.kind !== "json";
  const isLastFrozen = view.state.frozen === place + 1;
  openMenu(anchor, t("tables.field_menu", { name: field.name }), [
    ...(field.ai_field
      ? [{
        label: t("tables.ai_open"),
        mark: /** @type {const} */ ("spark"),
        action: () => tools.onAiField(field),
      }, null]
      : []),
    ...(isSorted
      ? [
        sortItem(view, field, false, sorts),
        sortItem(view, field, true, sorts),
      ]
      : []),
    { label: t("tables.filter_by"), mark: "filter", action: () => tools.onFilter(field) },
    ...(isSorted
      ? [{
        label: t("tables.group_by"),
        mark: /** @type {const} */ ("group"),
        isChecked: isGrouped,
        action: () => view.change({ groups: isGrouped ? [] : [{ field: field.key }] }),
      }]
      : []),
    null,
    {
      label: t(isLastFrozen ? "tables.unfreeze" : "tables.freeze"),
      mark: "pin",
      action: () => view.change({ frozen: isLastFrozen ? 0 : place + 1 }),
    },
    {
      label: t("tables.move_left"),
      mark: "left",
      action: () => view.move(fields, field.key, -1),
    },
    {
      label: t("tables.move_right"),
      mark: "right",
      action: () => view.move(fields, field.key, 1),
    },
    {
      label: t("tables.hide"),
      mark: "eye",
      action: () => view.change({ hidden: [...hidden, field.key] }),
    },
    ...(tools.mayEdit ? editItems(field, tools) : []),
  ]);
}

/** @param {OpenView} view @param {Field} field @param {boolean} desc
 * @param {import("./types.d.ts").Sort[]} sorts @returns {import("./menu.js").Item} */
function sortItem(view, field, desc, sorts) {
  const isChecked = sorts.length === 1 && sorts[0].field === field.key &&
    Boolean(sorts[0].desc) === desc;
  return {
    label: t(desc ? "tables.sort_descending" : "tables.sort_ascending"),
    mark: "sort",
    isChecked,
    action: () => view.change({ sorts: isChecked ? [] : [{ field: field.key, desc }] }),
  };
}

/** @param {Field} field @param {FieldTools} tools @returns {(import("./menu.js").Item|null)[]} */
function editItems(field, tools) {
  return [
    null,
    { label: t("tables.edit_field"), mark: "pencil", action: () => editField(field, tools) },
    { label: t("tables.add_field"), mark: "plus", action: () => addField(tools) },
    {
      label: t("tables.delete_field"),
      mark: "trash",
      isDanger: true,
      action: () => deleteField(field, tools),
    },
  ];
}

/** @param {Field} field @param {FieldTools} tools */
async function deleteField(field, tools) {
  try {
    await tools.api.deleteField(field.id);
  } catch (error) {
    return tools.say(errorText(/** @type {any} */ (error)));
  }
  tools.say(t("tables.field_deleted", { name: field.name }), async () => {
    await tools.api.restoreField(field.id);
    await tools.reload();
  });
  await tools.reload();
}

// --- Adding and changing ------------------------------------------------------------------------
/** @typedef {{name: string, kind: Kind, choices: (Choice|{name: string})[], table: string}} FieldForm */

/** @param {string} kind @returns {string} */
export function kindName(kind) {
  const key = `tables.kind.${kind}`;
  return isKey(key) ? t(key) : kind;
}

/** @param {FieldTools} tools */
export async function addField(tools) {
  /** @type {FieldForm} */
  const form = { name: "", kind: "text", choices: [], table: "" };
  const tables = await tools.api.listAll().catch(() => []);
  const sheet = new Sheet({
    heading: t("tables.add_field"),
    action: t("tables.add"),
    isReady: () => form.name.trim() !== "" && (form.kind !== "link" || form.table !== ""),
    content: (sheet) => formTemplate(form, KINDS, tables, sheet),
    onAction: async () => {
      const options = optionsOf(form);
      await tools.api.addField(tools.table().id, {
        name: form.name.trim(),
        kind: form.kind,
        options,
      });
      await tools.reload();
    },
  });
  sheet.closed.then(tools.onClosed);
}

/** @param {Field} field @param {FieldTools} tools */
export function editField(field, tools) {
  /** @type {FieldForm} */
  const form = {
    name: field.name,
    kind: field.kind,
    choices: structuredClone(field.options.choices ?? []),
    table: String(field.options.table ?? ""),
  };
  const kinds = field.kind === "link" || field.ai_field ? [field.kind] : UNLINKED_KINDS;
  const sheet = new Sheet({
    heading: t("tables.edit_field"),
    action: t("tables.save"),
    isReady: () => form.name.trim() !== "",
    content: (sheet) => formTemplate(form, kinds, [], sheet),
    onAction: async () => {
      if (form.kind !== field.kind) await retype(field, form, tools);
      await tools.api.changeField(field.id, changesOf(field, form));
      await tools.reload();
    },
  });
  sheet.closed.then(tools.onClosed);
}

/** @param {Field} field @param {FieldForm} form */
function changesOf(field, form) {
  const isChoice = WITH_CHOICES.includes(form.kind) && form.kind === field.kind;
  const options = isChoice ? { options: { ...field.options, ...optionsOf(form) } } : {};
  return { name: form.name.trim(), ...options };
}

/** @param {FieldForm} form */
function optionsOf({ kind, choices, table }) {
  const named = choices.filter(({ name }) => name.trim());
  // Of a field that becomes a choice the server finds those that it has.
  if (WITH_CHOICES.includes(kind)) return named.length ? { choices: named } : {};
  return kind === "link" ? { table: Number(table) } : {};
}

/** @param {Field} field @param {FieldForm} form @param {FieldTools} tools */
async function retype(field, form, tools) {
  await tools.api.changeField(field.id, { kind: form.kind, options: optionsOf(form) });
  const { name } = field;
  const report = await waitForRetype(field.id, tools.api);
  if (report?.state === "failed") {
    throw Object.assign(new Error(report.message), { code: "invalid_request" });
  }
  const left = report?.unfit ?? 0;
  tools.say(
    left ? t("tables.retyped_with_losses", { name, count: left }) : t("tables.retyped", { name }),
  );
}

/** @param {number} id @param {TablesApi} api @returns {Promise<any>} the report of the change */
async function waitForRetype(id, api) {
  for (;;) {
    const { retype: report } = await api.getField(id);
    if (!report || report.state !== "running") return report;
    await new Promise((resolve) => setTimeout(resolve, RETYPE_POLL_MS));
  }
}

/** @param {FieldForm} form @param {Kind[]} kinds @param {TableItem[]} tables @param {Sheet} sheet */
function formTemplate(form, kinds, tables, sheet) {
  const set = (/** @type {Partial<FieldForm>} */ changes) => {
    Object.assign(form, changes);
    sheet.show();
  };
  return html`
    ${inputField({
      id: idOf(form, "name"),
      label: t("tables.name"),
      value: form.name,
      onChange: (name) => set({ name }),
    })}
    ${selectField({
      id: idOf(form, "kind"),
      label: t("tables.kind"),
      value: form.kind,
      options: kinds.map((kind) => [kind, kindName(kind)]),
      onChange: (kind) => set({ kind: /** @type {Kind} */ (kind) }),
    })}
    ${WITH_CHOICES.includes(form.kind) ? choicesTemplate(form, () => sheet.show()) : nothing}
    ${form.kind === "link" && tables.length
      ? selectField({
        id: idOf(form, "table"),
        label: t("tables.linked_table"),
        value: form.table,
        options: [["", t("form.choose")], ...tables.map(tableOption)],
        onChange: (table) => set({ table }),
      })
      : nothing}
  `;
}

/** @param {TableItem} table @returns {[string, string]} */
function tableOption({ id, name }) {
  return [String(id), name];
}

/** @param {FieldForm} form @param {() => void} show */
function choicesTemplate(form, show) {
  const { choices } = form;
  const remove = (/** @type {number} */ place) => {
    choices.splice(place, 1);
    show();
  };
  const add = () => {
    choices.push({ name: "" });
    show();
  };
  return html`
    <fieldset class="choices-form">
      <legend>${t("tables.choices")}</legend>
      ${choices.map((choice, place) =>
        html`
          <div class="choice-line">
            ${inputField({
              id: idOf(choice, "name"),
              label: t("tables.choice", { number: place + 1 }),
              isHidden: true,
              value: choice.name,
              onChange: (name) => (choice.name = name),
            })}
            <button type="button" class="icon-button" aria-label=${t("tables.remove_choice")}
              title=${t("tables.remove_choice")} @click=${() => remove(place)}>
              ${icon("close")}
            </button>
          </div>
        `
      )}
      <button type="button" class="button small" ?disabled=${choices.length >= MAX_CHOICES}
        @click=${add}>${icon("plus")}${t("tables.add_choice")}</button>
    </fieldset>
  `;
}
