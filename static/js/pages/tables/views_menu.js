/** Menus of a table's views, and of the table itself. */

import { randomKey } from "../../client/tasks.js";
import { t } from "../../i18n/i18n.js";
import { confirmAction } from "../../shell/dialogs.js";
import { href } from "../../shell/routes.js";
import { errorText } from "../../ui/notice.js";
import { idOf, inputField } from "./forms.js";
import { openMenu } from "./menu.js";
import { openShareSheet } from "./share_sheet.js";
import { Sheet } from "./sheet.js";
import { openFieldsTrash } from "./trash_sheet.js";

/**
 * @import { Item } from "./menu.js"
 * @import { ToolbarParts } from "./toolbar.js"
 */

/** @param {HTMLElement} anchor @param {ToolbarParts} parts */
export function viewMenu(anchor, parts) {
  const { session, onView } = parts;
  const { view } = session;
  /** @type {(Item|null)[]} */
  const items = session.views.map(({ id, name, is_shared }) => ({
    label: is_shared ? t("tables.shared_view", { name }) : name,
    isChecked: id === view.id,
    action: () => onView(id),
  }));
  items.push(null, { label: t("tables.new_view"), mark: "plus", action: () => newView(parts) });
  if (view.view.is_own) items.push(...ownItems(parts));
  openMenu(anchor, t("tables.views"), items);
}

/** @param {ToolbarParts} parts @returns {Item[]} */
function ownItems(parts) {
  const { session, say } = parts;
  const { view } = session;
  const share = async () => {
    try {
      await view.rename({ is_shared: !view.view.is_shared });
      await session.openView(view.id);
    } catch (error) {
      say(errorText(/** @type {any} */ (error)));
    }
  };
  const items = /** @type {Item[]} */ ([
    { label: t("tables.rename_view"), mark: "pencil", action: () => renameView(parts) },
  ]);
  if (session.may.edit) {
    const label = t(view.view.is_shared ? "tables.unshare_view" : "tables.share_view");
    items.push({ label, mark: "share", action: share });
  }
  if (session.views.length > 1) {
    const action = () => deleteView(parts);
    items.push({ label: t("tables.delete_view"), mark: "trash", isDanger: true, action });
  }
  return items;
}

/** @param {string} heading @param {string} name @param {(name: string) => Promise<unknown>} onName */
function askForName(heading, name, onName) {
  const form = { name };
  new Sheet({
    heading,
    action: t("tables.save"),
    isReady: () => form.name.trim() !== "",
    content: (sheet) =>
      inputField({
        id: idOf(form, "name"),
        label: t("tables.name"),
        value: form.name,
        onChange: (text) => {
          form.name = text;
          sheet.show();
        },
      }),
    onAction: () => onName(form.name.trim()),
  });
}

/** With what is set in the one that is open. @param {ToolbarParts} parts */
function newView({ api, session, onView }) {
  askForName(t("tables.new_view"), "", async (name) => {
    const view = { name, ...session.view.state };
    const { id } = await api.addView(session.data.id, view, randomKey());
    onView(id);
  });
}

/** @param {ToolbarParts} parts */
function renameView({ session, onView }) {
  const { view } = session;
  askForName(t("tables.rename_view"), view.view.name, async (name) => {
    await view.rename({ name });
    onView(view.id);
  });
}

/** @param {ToolbarParts} parts */
async function deleteView({ api, session, onView, say }) {
  const { id, name } = session.view.view;
  const text = t("tables.delete_view_text", { name });
  if (!(await confirmAction(t("tables.delete_view"), text, t("dialog.delete.action")))) return;
  try {
    if (id !== null) await api.deleteView(id);
    onView(session.views.find((view) => view.id !== id)?.id ?? null);
  } catch (error) {
    say(errorText(/** @type {any} */ (error)));
  }
}

// --- The table ----------------------------------------------------------------------------------
/** @param {ToolbarParts} parts @returns {(Item|null)[]} */
export function tableMenu(parts) {
  const { session } = parts;
  const { edit, own } = session.may;
  /** @type {(Item|null)[]} */
  const items = [{ label: t("tables.refresh"), mark: "retry", action: () => session.reopen() }];
  if (edit) items.push({ label: t("tables.import"), mark: "upload", action: parts.onImport });
  items.push({ label: t("tables.export"), mark: "download", action: parts.onExport });
  if (edit) {
    items.push(null, {
      label: t("tables.rename"),
      mark: "pencil",
      action: () => renameTable(parts),
    }, {
      label: t("tables.trash_fields"),
      mark: "trash",
      action: () => openFieldsTrash(parts.api, session),
    });
  }
  if (own) {
    const action = () => deleteTable(parts);
    const share = () =>
      openShareSheet(parts.api, session.data, parts.say).catch((error) =>
        parts.say(errorText(error))
      );
    items.push({ label: t("tables.share"), mark: "share", action: share });
    items.push({ label: t("tables.delete"), mark: "trash", isDanger: true, action });
  }
  return items;
}

/** @param {ToolbarParts} parts */
function renameTable({ api, session }) {
  askForName(t("tables.rename"), session.data.name, async (name) => {
    await api.change(session.data.id, { name });
    await session.reloadFields();
  });
}

/** @param {ToolbarParts} parts */
async function deleteTable({ api, session, say }) {
  const { id, name } = session.data;
  const text = t("tables.delete_text", { name });
  if (!(await confirmAction(t("tables.delete"), text, t("dialog.delete.action")))) return;
  try {
    await api.delete(id);
    location.hash = href({ name: "tables", id: null });
  } catch (error) {
    say(errorText(/** @type {any} */ (error)));
  }
}
