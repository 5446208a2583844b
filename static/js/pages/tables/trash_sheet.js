/** The trash of the tables, or of a table's fields: what was deleted, and can be taken back. */

import { formatDateTime, t } from "../../i18n/i18n.js";
import { html, nothing, repeat } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { kindName } from "./fields_menu.js";
import { Sheet } from "./sheet.js";

/**
 * @import { TablesApi } from "./api.js"
 * @import { TableSession } from "./session.js"
 * @import { Field } from "./types.d.ts"
 *
 * @typedef {object} Deleted
 * @property {string} key
 * @property {string} name
 * @property {string} note what more is known of it
 * @property {string} at
 * @property {() => Promise<unknown>} restore
 */

/** @param {TablesApi} api @param {() => Promise<void>} onRestored */
export function openTablesTrash(api, onRestored) {
  openTrash(t("tables.trash_tables"), async () => {
    const tables = await api.listAll({ isDeleted: true });
    return tables.filter(({ access }) => access.includes("own")).map((table) => ({
      key: `t${table.id}`,
      name: table.name,
      note: t("tables.rows", { count: table.rows }),
      at: table.deleted_at ?? "",
      restore: () => api.restore(table.id).then(onRestored),
    }));
  });
}

/** @param {TablesApi} api @param {TableSession} session */
export function openFieldsTrash(api, session) {
  openTrash(t("tables.trash_fields"), async () => {
    const fields = await api.deletedFields(session.data.id);
    return withoutRepeats(fields, session).map((field) => ({
      key: field.key,
      name: field.name,
      note: kindName(field.kind),
      at: field.deleted_at ?? "",
      restore: () => restoreField(api, session, field),
    }));
  });
}

/** Fields of one deleted AI field come back together: only the first is listed.
 * @param {Field[]} fields @param {TableSession} session */
function withoutRepeats(fields, session) {
  return fields.filter(({ id, ai_field }) =>
    !isOfDeletedAiField(ai_field, session) ||
    fields.find((other) => other.ai_field === ai_field)?.id === id
  );
}

/** @param {number|null} aiField @param {TableSession} session */
function isOfDeletedAiField(aiField, session) {
  return aiField !== null && !session.aiFields.some(({ id }) => id === aiField);
}

/** @param {TablesApi} api @param {TableSession} session @param {Field} field */
async function restoreField(api, session, { id, ai_field }) {
  if (ai_field !== null && isOfDeletedAiField(ai_field, session)) {
    await api.restoreAiField(ai_field);
  } else {
    await api.restoreField(id);
  }
  await session.reloadFields();
}

/** @param {string} heading @param {() => Promise<Deleted[]>} read the newest first */
function openTrash(heading, read) {
  /** @type {Deleted[]|null} */
  let items = null;
  /** @param {() => Promise<unknown>} action */
  const act = (action) =>
    sheet.request.run(async () => {
      await action();
      items = await read();
    });
  /** @param {Deleted} item */
  const itemTemplate = ({ name, note, at, restore }) =>
    html`
      <li class="trash-item">
        <strong dir="auto">${name}</strong>
        <span class="muted">${note} · ${t("tables.deleted_at", { time: formatDateTime(at) })}</span>
        <button type="button" class="button small" ?disabled=${sheet.request.isBusy}
          aria-label=${t("tables.restore_name", { name })} @click=${() => act(restore)}>
          ${icon("undo")}<span>${t("tables.restore")}</span>
        </button>
      </li>
    `;
  /** @type {Sheet} */
  const sheet = new Sheet({
    heading,
    content: () =>
      html`
        <p class="muted">${t("tables.trash_help")}</p>
        ${items?.length === 0 ? html`<p>${t("tables.trash_empty")}</p>` : nothing}
        <ul class="ai-list">${repeat(items ?? [], ({ key }) => key, itemTemplate)}</ul>
      `,
  });
  act(async () => {});
}
