// What the grid shows, and what it reports.

import type { Drop } from "./column_drag.js";
import type { Edit } from "./edits.js";
import type { Heading } from "./layout.js";
import type { AiCell, Field, Row, Value } from "./types.d.ts";

export interface Source {
  lines(): number;
  /** Undefined: not there yet; null: deleted. */
  at(line: number): Row | Heading | null | undefined;
  cell(row: Row, field: Field): { value: Value; edit?: Edit; ai?: AiCell };
  /** Of the row. */
  numberOf(line: number): number;
  headingText(heading: Heading): string;
}

export interface Callbacks {
  onEdit(row: Row, field: Field, value: Value, was: Value): void;
  /** Its editor is a dialog. */
  onOpenValue(line: number, field: Field): void;
  onFieldMenu(field: Field, anchor: Element): void;
  onCellMenu(line: number, field: Field, anchor: Element): void;
  onOpenRow(line: number): void;
  /** A cell has been selected. */
  onActive(line: number, field: Field): void;
  onToggle(heading: Heading): void;
  onWidths(widths: Record<string, number>): void;
  onMoveField(drop: Drop): void;
  /** True: it is dealt with. */
  onKey(event: KeyboardEvent): boolean;
  /** Other rows are in sight. */
  onVisible(): void;
  /** What was typed cannot be a value. */
  onInvalid(message: string): void;
}

export interface Options {
  label: string;
  nonce: string;
  mayEdit: boolean;
}

/** A rectangle of cells: lines, both included. */
export interface Selection {
  top: number;
  bottom: number;
  fields: Field[];
}
