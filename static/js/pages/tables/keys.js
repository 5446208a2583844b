/** Keys that act on the selected cells of the grid, as in spreadsheets. */

import { t } from "../../i18n/i18n.js";
import { errorText } from "../../ui/notice.js";

/**
 * @import { Actions } from "./actions.js"
 * @import { TableGrid } from "./grid.js"
 * @import { TableSession } from "./session.js"
 */

export class Keys {
  #session;
  #actions;
  #say;
  /** One after the other. */
  #steps = Promise.resolve();

  /** @param {TableSession} session @param {Actions} actions @param {(message: string) => void} say */
  constructor(session, actions, say) {
    this.#session = session;
    this.#actions = actions;
    this.#say = say;
  }

  /** @param {KeyboardEvent} event @param {TableGrid|null} grid @returns {boolean} it is dealt with */
  press(event, grid) {
    const hasCommand = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (hasCommand && key === "z") {
      return this.#do(() => this.step(event.shiftKey ? "redo" : "undo"));
    }
    if (hasCommand && key === "y") return this.#do(() => this.step("redo"));
    if (hasCommand && key === "a") return this.#do(() => this.#actions.selectAll());
    if (hasCommand && key === "d") return this.#do(() => this.#actions.fillDown());
    if (hasCommand || event.altKey) return false;
    if (key === "delete" || key === "backspace") return this.#do(() => this.#actions.clear());
    if (key === " ") return this.#do(() => this.#toggle(grid));
    return false;
  }

  /** @param {() => unknown} action */
  #do(action) {
    action();
    return true;
  }

  /** @param {"undo"|"redo"} direction */
  step(direction) {
    this.#steps = this.#steps.then(() => this.#step(direction));
    return this.#steps;
  }

  /** @param {"undo"|"redo"} direction */
  async #step(direction) {
    try {
      const { change, conflicts } = await this.#session.step(direction);
      if (change === null) this.#say(t(`tables.no_step.${direction}`));
      else if (conflicts.length) this.#say(t("tables.not_undone", { count: conflicts.length }));
      else this.#say(t(`tables.stepped.${direction}`));
    } catch (error) {
      this.#say(errorText(/** @type {any} */ (error)));
    }
  }

  /** The space bar ticks a box, and opens what else is in a cell. @param {TableGrid|null} grid */
  #toggle(grid) {
    const active = grid?.active;
    const row = active && this.#session.lines.rowAt(active.line);
    if (!row || !this.#session.may.edit) return;
    if (active.field.kind !== "boolean") return grid?.edit();
    this.#session.edit(row, active.field, !this.#session.lines.valueOf(row, active.field));
  }
}
