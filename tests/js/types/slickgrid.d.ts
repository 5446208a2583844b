/** The part of SlickGrid 5.20 that the tables' page uses. */

// deno-lint-ignore-file no-explicit-any

export interface SlickColumn {
  id: string;
  field: string;
  name: HTMLElement | string;
  width?: number;
  minWidth?: number;
  cssClass?: string;
  focusable?: boolean;
  selectable?: boolean;
  resizable?: boolean;
  formatter?: (row: number, cell: number, value: any, column: SlickColumn, item: any) => any;
  editor?: any;
  [name: string]: any;
}

export interface SlickEvent<Args> {
  subscribe(handler: (event: any, args: Args) => void): void;
}

export class SlickRange {
  constructor(fromRow: number, fromCell: number, toRow?: number, toCell?: number);
  fromRow: number;
  fromCell: number;
  toRow: number;
  toCell: number;
  contains(row: number, cell: number): boolean;
}

export class SlickCellSelectionModel {
  constructor(options?: object);
  getSelectedRanges(): SlickRange[];
  setSelectedRanges(ranges: SlickRange[], caller?: string, mode?: string): void;
  readonly onSelectedRangesChanged: SlickEvent<SlickRange[]>;
}

export class SlickGrid {
  constructor(container: HTMLElement, data: object, columns: SlickColumn[], options: object);
  readonly onActiveCellChanged: SlickEvent<{ row: number; cell: number }>;
  readonly onBeforeCellEditorDestroy: SlickEvent<{ editor: any }>;
  readonly onBeforeEditCell: SlickEvent<{ row: number; cell: number; item: any }>;
  readonly onClick: SlickEvent<{ row: number; cell: number }>;
  readonly onDblClick: SlickEvent<{ row: number; cell: number }>;
  readonly onContextMenu: SlickEvent<object>;
  readonly onHeaderContextMenu: SlickEvent<{ column: SlickColumn }>;
  readonly onHeaderCellRendered: SlickEvent<{ node: HTMLElement; column: SlickColumn }>;
  readonly onColumnsResized: SlickEvent<object>;
  readonly onKeyDown: SlickEvent<{ row: number; cell: number }>;
  readonly onRendered: SlickEvent<{ startRow: number; endRow: number }>;
  readonly onValidationError: SlickEvent<{ validationResults: { msg: string }; cellNode: Element }>;
  readonly onViewportChanged: SlickEvent<object>;
  destroy(destroyElements?: boolean): void;
  focus(): void;
  getActiveCell(): { row: number; cell: number } | null;
  getActiveCellNode(): HTMLElement | null;
  getCellFromEvent(event: Event): { row: number; cell: number } | null;
  getCellNode(row: number, cell: number): HTMLElement | null;
  getColumns(): SlickColumn[];
  getEditorLock(): {
    isActive(): boolean;
    commitCurrentEdit(): boolean;
    cancelCurrentEdit(): boolean;
  };
  getRenderedRange(): { top: number; bottom: number };
  getViewport(): { top: number; bottom: number };
  gotoCell(row: number, cell: number, edit?: boolean): void;
  invalidate(): void;
  invalidateRows(rows: number[]): void;
  editActiveCell(editor?: undefined, preClick?: boolean, event?: Event): void;
  render(): void;
  resetActiveCell(): void;
  resizeCanvas(): void;
  scrollColumnIntoView(cell: number): void;
  scrollRowIntoView(row: number): void;
  scrollRowToTop(row: number): void;
  setActiveCell(row: number, cell: number): void;
  setColumns(columns: SlickColumn[]): void;
  setOptions(options: object): void;
  setSelectionModel(model: SlickCellSelectionModel): void;
  updateRow(row: number): void;
  updateRowCount(): void;
  navigateBottom(): void;
  navigateBottomEnd(): void;
  navigateDown(): boolean;
  navigateRowEnd(): void;
  navigateRowStart(): void;
  navigateTop(): void;
  navigateTopStart(): void;
  navigateUp(): boolean;
}
