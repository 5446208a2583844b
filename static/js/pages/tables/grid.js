/** The grid: draws the rows in sight, and reports what is done in it. It does not talk to the server. */

import { SlickCellSelectionModel, SlickGrid, SlickRange } from "../../slickgrid.js";
import { isCharacter, isComposing } from "../../ui/keyboard.js";
import { ColumnDrag } from "./column_drag.js";
import { IN_SHEET } from "./editors.js";
import {
  followHeaders,
  hidePane,
  keepFocusInSight,
  markActive,
  markRows,
  moveRole,
  setCounts,
} from "./grid_access.js";
import { fieldColumn, linesOf, NUMBER, numberColumn, widthsOf } from "./grid_columns.js";
import { jumpToEdge } from "./grid_jumps.js";
import { menuButton } from "./grid_nodes.js";

/**
 * @import { SlickColumn } from "../../../../tests/js/types/slickgrid.d.ts"
 * @import { Callbacks, Options, Selection, Source } from "./grid_types.d.ts"
 * @import { Field, Row } from "./types.d.ts"
 */

const ROW_HEIGHT = { mouse: 34, touch: 44 };
const isTouch = matchMedia("(pointer: coarse)").matches;

export class TableGrid {
  element = document.createElement("div");
  #source;
  #callbacks;
  #options;
  /** @type {SlickGrid} */
  #grid;
  /** @type {SlickCellSelectionModel} */
  #selection;
  /** @type {HTMLElement} */
  #wrapper;
  /** @type {Field[]} */
  #fields = [];
  /** What waits for the end of an edit, by name. @type {Map<string, () => void>} */
  #late = new Map();
  #drag;
  #resizes;

  /**
   * Its element has to be in the page.
   *
   * @param {HTMLElement} parent @param {Source} source @param {Callbacks} callbacks
   * @param {Options} options
   */
  constructor(parent, source, callbacks, options) {
    this.#source = source;
    this.#callbacks = callbacks;
    this.#options = options;
    this.element.className = "table-grid";
    parent.append(this.element);
    this.#drag = new ColumnDrag(this.element, callbacks.onMoveField);
    this.#grid = this.#makeGrid();
    // Before the selection's own: what is dealt with here is none of its keys.
    this.#grid.onKeyDown.subscribe((event) => this.#pressed(event));
    this.#selection = new SlickCellSelectionModel();
    this.#grid.setSelectionModel(this.#selection);
    this.#wrapper = moveRole(this.element, options.label);
    this.#listen();
    this.#resizes = new ResizeObserver(() => {
      this.#grid.resizeCanvas();
      keepFocusInSight(this.element);
    });
    this.#resizes.observe(this.element);
  }

  #makeGrid() {
    const data = linesOf(this.#source, {
      column: () => this.#fields.length ? this.#frozen + 1 : 0,
      onToggle: this.#callbacks.onToggle,
    });
    return new SlickGrid(this.element, data, [numberColumn(this.#source)], {
      nonce: this.#options.nonce,
      enableHtmlRendering: false,
      enableColumnReorder: false,
      enableCellNavigation: true,
      editable: this.#options.mayEdit,
      autoEdit: false,
      rowHeight: isTouch ? ROW_HEIGHT.touch : ROW_HEIGHT.mouse,
      editCommandHandler: (
        /** @type {Row} */ _,
        /** @type {SlickColumn} */ column,
        /** @type {any} */ command,
      ) => {
        const { editor, serializedValue } = command;
        this.#callbacks.onEdit(editor.row, column.fieldOf, serializedValue, editor.was);
      },
      invalidColumnFreezeWidthCallback: () => {},
      invalidColumnFreezePickerCallback: () => {},
    });
  }

  // --- Columns ------------------------------------------------------------------------------------
  /** The last column that does not scroll sideways: 0 is that with the numbers of rows. */
  #frozen = 0;

  /** @param {Field[]} fields in order @param {Record<string, number>} widths @param {number} frozen */
  setFields(fields, widths, frozen) {
    this.#afterEdit("fields", () => this.#setFields(fields, widths, frozen));
  }

  /** @param {Field[]} fields @param {Record<string, number>} widths @param {number} frozen */
  #setFields(fields, widths, frozen) {
    this.#fields = fields;
    // Too many of them would leave no room for the others.
    const isNarrow = this.element.clientWidth < 600;
    this.#frozen = isNarrow ? 0 : Math.max(Math.min(frozen, fields.length - 1), 0);
    const columns = fields.map((field) => fieldColumn(field, widths[field.key], this.#source));
    // Only columns that are there can be frozen.
    this.#grid.setOptions({ frozenColumn: -1 });
    this.#grid.setColumns([numberColumn(this.#source), ...columns]);
    if (fields.length) this.#grid.setOptions({ frozenColumn: this.#frozen });
    // The numbers alone tell no more than the indexes of rows.
    hidePane(this.#wrapper, ".slick-pane-left", fields.length > 0 && this.#frozen === 0);
    this.refreshLength();
  }

  // --- What happens in it -------------------------------------------------------------------------
  #listen() {
    const grid = this.#grid;
    grid.onHeaderCellRendered.subscribe((_event, { node, column }) => {
      const field = column.fieldOf;
      if (!field) return;
      node.append(menuButton(field, (anchor) => this.#callbacks.onFieldMenu(field, anchor)));
      this.#drag.add(node, field.key);
    });
    grid.onHeaderContextMenu.subscribe((event, { column }) => {
      event.preventDefault();
      if (column.fieldOf) this.#callbacks.onFieldMenu(column.fieldOf, event.target);
    });
    grid.onColumnsResized.subscribe(() => {
      this.#callbacks.onWidths(widthsOf(grid.getColumns()));
    });
    grid.onClick.subscribe((event, { row, cell }) => this.#clicked(event, row, cell));
    grid.onDblClick.subscribe((event, { row, cell }) => this.#openInSheet(event, row, cell));
    grid.onContextMenu.subscribe((event) => this.#contextMenu(event));
    grid.onRendered.subscribe(() => {
      this.#markRows();
      this.#callbacks.onVisible();
    });
    grid.onActiveCellChanged.subscribe(() => {
      markActive(this.element, grid.getActiveCellNode());
      if (this.active) this.#callbacks.onActive(this.active.line, this.active.field);
    });
    // Before it is gone.
    grid.onBeforeCellEditorDestroy.subscribe(() => queueMicrotask(() => this.#catchUp()));
    grid.onValidationError.subscribe((_event, { validationResults }) => {
      this.#callbacks.onInvalid(validationResults.msg);
    });
    this.element.addEventListener("focusin", (event) => this.#entered(event));
    // A header that is out of sight is scrolled to when its button gets the focus.
    followHeaders(this.element);
    this.#selection.onSelectedRangesChanged.subscribe(() => {
      // The grid's own handler marks the cells, after this one.
      requestAnimationFrame(() => this.#markRows());
    });
  }

  #markRows() {
    const ranges = this.#selection.getSelectedRanges();
    markRows(this.#wrapper, (line, cell) => ranges.some((range) => range.contains(line, cell)));
  }

  /** By the tab key. @param {FocusEvent} event */
  #entered(event) {
    const isCell = /** @type {Element} */ (event.target).classList.contains("slick-cell");
    const place = isCell && !this.active ? this.#grid.getCellFromEvent(event) : null;
    if (place && place.cell > 0) this.#grid.setActiveCell(place.row, place.cell);
  }

  /** @param {any} event of the grid, around a KeyboardEvent */
  #pressed(event) {
    /** @type {KeyboardEvent} */
    const key = event.getNativeEvent();
    const isHandled = this.isEditing ? this.#pressedInEditor(key) : this.#pressedInGrid(key);
    if (!isHandled) return;
    key.preventDefault();
    event.stopImmediatePropagation();
    key.stopPropagation();
  }

  /** @param {KeyboardEvent} key @returns {boolean} */
  #pressedInEditor(key) {
    if (key.key !== "Enter" || key.altKey || key.ctrlKey) return false;
    if (!this.#grid.getEditorLock().commitCurrentEdit()) return true;
    if (key.shiftKey) this.#grid.navigateUp();
    else this.#grid.navigateDown();
    this.#grid.focus();
    return true;
  }

  /** @param {KeyboardEvent} key @returns {boolean} */
  #pressedInGrid(key) {
    const active = this.active;
    if (active && (key.key === "Enter" || key.key === "F2") && !key.ctrlKey && !key.metaKey) {
      this.edit();
      return true;
    }
    if (key.key === "ContextMenu" || (key.key === "F10" && key.shiftKey)) {
      const anchor = this.activeNode;
      if (active && anchor) this.#callbacks.onCellMenu(active.line, active.field, anchor);
      return true;
    }
    if (active && jumpToEdge(this.#grid, this.#selection, key)) return true;
    if (this.#callbacks.onKey(key)) return true;
    // The character itself goes into the input, and the first key of a word to the input method.
    if (active && (isCharacter(key) || isComposing(key))) {
      if (!IN_SHEET.includes(active.field.kind)) this.edit(key);
    }
    return false;
  }

  /** @param {any} event @param {number} line @param {number} cell */
  #clicked(event, line, cell) {
    if (this.#grid.getColumns()[cell].id !== NUMBER) return;
    if (event.detail === 2) return this.#callbacks.onOpenRow(line);
    const { selection } = this;
    if (event.shiftKey && selection) {
      return this.select(Math.min(selection.top, line), Math.max(selection.bottom, line));
    }
    this.#grid.setActiveCell(line, 1);
    this.select(line, line);
  }

  /** @param {any} event @param {number} line @param {number} cell */
  #openInSheet(event, line, cell) {
    const field = this.#grid.getColumns()[cell].fieldOf;
    if (!field) return this.#callbacks.onOpenRow(line);
    if (!IN_SHEET.includes(field.kind)) return;
    event.preventDefault();
    this.#callbacks.onOpenValue(line, field);
  }

  /** @param {any} event */
  #contextMenu(event) {
    const place = this.#grid.getCellFromEvent(event);
    const field = place && this.#grid.getColumns()[place.cell]?.fieldOf;
    if (!place || !field) return;
    event.preventDefault();
    // Inside of what is selected, the menu is that of all selected rows.
    const isSelected = this.#selection.getSelectedRanges().some((range) =>
      range.contains(place.row, place.cell)
    );
    if (!isSelected) this.#grid.setActiveCell(place.row, place.cell);
    this.#callbacks.onCellMenu(place.row, field, event.target);
  }

  // --- For the page -------------------------------------------------------------------------------
  get isEditing() {
    return this.#grid.getEditorLock().isActive();
  }

  /** The keyboard acts on the grid, not on an input. */
  get hasFocus() {
    const { activeElement } = document;
    return this.element.contains(activeElement) && !this.isEditing &&
      !activeElement?.closest("button, .slick-header");
  }

  /** @returns {{line: number, field: Field}|null} */
  get active() {
    const cell = this.#grid.getActiveCell();
    const field = cell && this.#grid.getColumns()[cell.cell]?.fieldOf;
    return cell && field ? { line: cell.row, field } : null;
  }

  get activeNode() {
    return this.#grid.getActiveCellNode();
  }

  /** @returns {Selection|null} the rectangle that is selected */
  get selection() {
    const range = this.#selection.getSelectedRanges().at(-1);
    if (!range) return null;
    const fields = this.#fields.slice(Math.max(range.fromCell, 1) - 1, range.toCell);
    return { top: range.fromRow, bottom: range.toRow, fields };
  }

  /** @param {number} top @param {number} bottom @param {number} first @param {number} last fields */
  select(top, bottom, first = 0, last = this.#fields.length - 1) {
    this.#selection.setSelectedRanges([new SlickRange(top, first + 1, bottom, last + 1)]);
  }

  /** All cells of the first lines. @param {number} lines */
  selectAll(lines) {
    this.#grid.setActiveCell(0, 1);
    this.select(0, lines - 1);
  }

  /** The lines are other rows now. */
  resetSelection() {
    if (this.isEditing) return;
    this.#grid.resetActiveCell();
    this.#selection.setSelectedRanges([]);
  }

  get visible() {
    const { top, bottom } = this.#grid.getRenderedRange();
    return { top: Math.max(0, top), bottom: Math.min(bottom, this.#source.lines() - 1) };
  }

  /** @param {KeyboardEvent} [typed] replaces what is in the cell */
  edit(typed) {
    const { active } = this;
    if (!active || !this.#options.mayEdit) return;
    if (IN_SHEET.includes(active.field.kind)) {
      this.#callbacks.onOpenValue(active.line, active.field);
    } else this.#grid.editActiveCell(undefined, false, typed);
  }

  /** @param {number} line @param {Field} [field] the first one by default */
  goTo(line, field) {
    const place = field ? this.#fields.findIndex(({ key }) => key === field.key) : 0;
    this.#grid.gotoCell(line, Math.max(place, 0) + 1);
  }

  /** Scroll to where a field can be seen. @param {Field} field */
  showField(field) {
    const place = this.#fields.findIndex(({ key }) => key === field.key);
    if (place >= 0) this.#grid.scrollColumnIntoView(place + 1);
  }

  /** @param {number[]} lines that look other than before */
  refresh(lines) {
    const { top, bottom } = this.#grid.getRenderedRange();
    const shown = lines.filter((line) => line >= top && line <= bottom);
    const edited = this.isEditing ? this.active?.line : undefined;
    for (const line of shown) if (line === edited) this.#grid.updateRow(line);
    this.#grid.invalidateRows(shown.filter((line) => line !== edited));
    this.#grid.render();
    markActive(this.element, this.#grid.getActiveCellNode());
  }

  /** There are more or fewer lines, or others. */
  refreshLength() {
    this.#afterEdit("length", () => {
      this.#grid.updateRowCount();
      this.#grid.invalidate();
      setCounts(this.#wrapper, this.#source.lines(), this.#fields.length + 1);
    });
  }

  /** Do what would end an edit, and lose what was typed, when none goes on. @param {string} name
   * @param {() => void} action in place of an earlier one of the same name */
  #afterEdit(name, action) {
    if (this.isEditing) this.#late.set(name, action);
    else action();
  }

  #catchUp() {
    if (this.isEditing) return;
    const late = [...this.#late.values()];
    this.#late.clear();
    for (const action of late) action();
  }

  /** @param {boolean} mayEdit */
  setMayEdit(mayEdit) {
    if (this.#options.mayEdit === mayEdit) return;
    this.#options.mayEdit = mayEdit;
    if (!mayEdit) this.#grid.getEditorLock().cancelCurrentEdit();
    this.#grid.setOptions({ editable: mayEdit });
  }

  /** End an edit that has begun; what was typed is kept. */
  commit() {
    return this.#grid.getEditorLock().commitCurrentEdit();
  }

  focus() {
    if (!this.#grid.getActiveCell() && this.#source.lines() > 0) this.goTo(0);
    this.#grid.focus();
  }

  dispose() {
    this.#late.clear();
    this.#drag.end();
    this.#resizes.disconnect();
    this.#grid.destroy();
    this.element.remove();
  }
}
