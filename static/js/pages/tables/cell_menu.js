/** The menu of a cell. */

import { t } from "../../i18n/i18n.js";
import { errorText } from "../../ui/notice.js";
import { openMenu } from "./menu.js";

/**
 * @import { Actions } from "./actions.js"
 * @import { TableSession } from "./session.js"
 * @import { Field, Row } from "./types.d.ts"
 *
 * @typedef {object} CellTools
 * @property {TableSession} session
 * @property {Actions} actions
 * @property {(message: string, undo?: () => unknown) => void} say
 * @property {() => void} onInspect
 * @property {() => void} onOpenRow
 * @property {() => void} onEdit
 * @property {() => void} onFilter
 * @property {() => void} onRun
 * @property {(step: number) => void} onMoved by so many lines
 */

/** @param {Element} anchor @param {Row} row @param {Field} field @param {CellTools} tools */
export function cellMenu(anchor, row, field, tools) {
  const { session, actions, say } = tools;
  const { may } = session;
  /** @type {(import("./menu.js").Item|null)[]} */
  const items = [{ label: t("tables.open_row"), mark: "right", action: tools.onOpenRow }];
  if (field.ai_field) {
    items.push({ label: t("tables.inspect"), mark: "spark", action: tools.onInspect });
  }
  if (may.edit) {
    items.push({ label: t("tables.edit"), mark: "pencil", action: tools.onEdit, keys: "F2" });
  }
  items.push({ label: t("tables.filter_value"), mark: "filter", action: tools.onFilter });
  const edit = session.edits.of(row.id, field.key);
  if (edit?.state === "conflict") {
    items.push(
      null,
      {
        label: t("tables.keep_mine"),
        mark: "check",
        action: () => session.edits.overwrite(edit).catch(() => {}),
      },
      { label: t("tables.keep_theirs"), mark: "undo", action: () => session.edits.discard(edit) },
    );
  }
  if (edit?.state === "refused") {
    items.push({
      label: t("tables.discard"),
      mark: "undo",
      action: () => session.edits.discard(edit),
    });
  }
  if (session.isOrderedByHand) {
    items.push(null, ...moveItems(tools));
  }
  if (may.edit) {
    items.push(null, {
      label: t("tables.delete_rows"),
      mark: "trash",
      isDanger: true,
      action: () => deleteRows(actions, session, say),
    });
  }
  openMenu(anchor, t("tables.cell_menu"), items);
}

/** @param {CellTools} tools @returns {import("./menu.js").Item[]} as far as there is a row to pass */
function moveItems({ session, actions, say, onMoved }) {
  /** @param {-1|1} step */
  const item = (step) => {
    const other = actions.neighbour(step);
    if (!other) return [];
    const move = async () => {
      try {
        const place = step < 0 ? { before: other.id } : { after: other.id };
        await session.move(await actions.selectedRows(), place);
        onMoved(step);
      } catch (error) {
        say(errorText(/** @type {any} */ (error)));
      }
    };
    const label = t(step < 0 ? "tables.move_up" : "tables.move_down");
    /** @type {import("./menu.js").Item["mark"]} */
    const mark = step < 0 ? "up" : "down";
    return [{ label, mark, action: move }];
  };
  return [...item(-1), ...item(1)];
}

/** @param {Actions} actions @param {TableSession} session
 * @param {(message: string, undo?: () => unknown) => void} say */
async function deleteRows(actions, session, say) {
  const rowIds = await actions.selectedRows();
  try {
    await session.delete(rowIds);
    say(t("tables.rows_deleted", { count: rowIds.length }), () => session.step("undo"));
  } catch {
    // The page shows it.
  }
}
