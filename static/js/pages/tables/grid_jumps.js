/** Keys that lead to an edge of the grid. */

import { SlickRange } from "../../slickgrid.js";

/** @import { SlickCellSelectionModel, SlickGrid } from "../../slickgrid.js" */

/**
 * With Ctrl to an edge: one cell is selected then. SlickGrid's own selection would keep a range.
 *
 * @param {SlickGrid} grid @param {SlickCellSelectionModel} selection
 * @param {KeyboardEvent} key @returns {boolean} it was such a key
 */
export function jumpToEdge(grid, selection, { key, ctrlKey, metaKey, shiftKey, altKey }) {
  if (!(ctrlKey || metaKey) || shiftKey || altKey) return false;
  const jumps = {
    Home: () => grid.navigateTopStart(),
    End: () => grid.navigateBottomEnd(),
    ArrowUp: () => grid.navigateTop(),
    ArrowDown: () => grid.navigateBottom(),
    ArrowLeft: () => grid.navigateRowStart(),
    ArrowRight: () => grid.navigateRowEnd(),
  };
  if (!(key in jumps)) return false;
  jumps[/** @type {keyof typeof jumps} */ (key)]();
  const cell = grid.getActiveCell();
  if (cell) selection.setSelectedRanges([new SlickRange(cell.row, cell.cell)]);
  return true;
}
