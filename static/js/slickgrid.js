/** The grid of the tables' page, loaded with it alone. */

// @ts-types="../../tests/js/types/slickgrid.d.ts"
export { SlickCellSelectionModel, SlickGrid, SlickRange } from "../vendor/slickgrid/slickgrid.js";
