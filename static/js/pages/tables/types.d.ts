/** Tables as the REST interface sends them, as far as the page reads them. */

import type { Estimate, RunData } from "../../client/types.d.ts";
import type { Failure } from "../../ui/notice.js";

export type Kind =
  | "text"
  | "long_text"
  | "integer"
  | "number"
  | "boolean"
  | "date"
  | "datetime"
  | "select"
  | "multi_select"
  | "url"
  | "email"
  | "json"
  | "link";

export interface Choice {
  id: number;
  name: string;
  color?: string;
}

export interface Field {
  id: number;
  /** Name of its values in a row, such as "f12". */
  key: string;
  kind: Kind;
  name: string;
  // deno-lint-ignore no-explicit-any
  options: { choices?: Choice[]; table?: number } & Record<string, any>;
  /** The AI field that fills it; null: people do. */
  ai_field: number | null;
  /** It is in the trash since. */
  deleted_at?: string | null;
  /** Of a link: what its rows are called, as far as that is known. */
  labels?: Map<number, string>;
}

/** A value of a cell; what it may be depends on the kind of its field. */
// deno-lint-ignore no-explicit-any
export type Value = any;

export interface Row {
  id: number;
  version: number;
  values: Record<string, Value>;
  /** Of fields that an AI field fills, by their keys. */
  ai?: Record<string, AiCell>;
  /** It no longer belongs to the view. */
  is_outside?: boolean;
}

export interface AiCell {
  state: "none" | "queued" | "running" | "done" | "failed" | "stale" | "edited" | "rejected";
  /** Of a stale one: which has changed. */
  why?: ("input" | "config")[];
  /** Of a failed one: the code of the error. */
  code?: string;
  thumb?: number;
  verdict?: number;
}

export interface Condition {
  /** Key of a field. */
  field: string;
  op: string;
  value?: Value;
  /** Of a span of days: where they begin and end. */
  timezone?: string;
}

export type Group = { and: (Condition | Group)[] } | { or: (Condition | Group)[] };

export interface Sort {
  field: string;
  desc?: boolean;
}

export interface Grouping {
  field: string;
  desc?: boolean;
}

/** What of a view the page changes; fields by their keys. */
export interface ViewState {
  filter: Group | null;
  sorts: Sort[];
  groups: Grouping[];
  aggregates: Record<string, string>;
  hidden: string[];
  order: string[];
  frozen: number;
  widths: Record<string, number>;
  /** How texts are sorted: by code point, or by pinyin. */
  collation: string;
}

export interface View extends ViewState {
  /** Null: it is not stored yet. */
  id: number | null;
  name: string;
  is_shared: boolean;
  /** The user may change it. */
  is_own: boolean;
}

export type Access = "read" | "review" | "run" | "edit" | "own";

/** Of a list: without fields. */
export interface TableItem {
  id: number;
  name: string;
  description: string;
  owner: string;
  access: Access[];
  rows: number;
  updated_at: string;
  deleted_at: string | null;
}

/** What a user, or a role, may do with a table. */
export interface Share {
  user: string | null;
  role: string | null;
  access: string[];
}

export interface TablePage {
  items: TableItem[];
  count: number;
}

export interface TableData {
  id: number;
  name: string;
  description: string;
  owner: string;
  access: Access[];
  schema_rev: number;
  /** It is in the trash since. */
  deleted_at: string | null;
  fields: Field[];
}

export interface AiField {
  id: number;
  name: string;
  scene: string;
  version: number | null;
  model: string;
  /** Fields of every request, such as `max_tokens`. */
  options: Record<string, Value>;
  /** Of each variable: the key of a field, or a constant. */
  mapping: Record<string, string | { value: Value }>;
  condition: Group | null;
  policy: "by_hand" | "empty" | "fresh";
  max_rows_per_hour: number | null;
  max_cost_per_day: string | null;
  /** Why its policy fills no further cells. */
  note: string;
  note_code: string;
  note_params: Record<string, string | number>;
  outputs: { id: number; key: string; name: string; kind: Kind; property: string }[];
}

export interface ImportData {
  id: string;
  table: number | null;
  new_table: string;
  state: "inspecting" | "ready" | "running" | "done" | "failed" | "cancelled";
  /** Code of why it has failed; empty: it has not. */
  reason: string;
  message: string;
  /** What a text of the reason in another language needs. */
  params: Record<string, string | number> | null;
  file_name: string;
  format: "csv" | "jsonl" | "xlsx";
  dialect: {
    encoding?: string;
    delimiter?: string;
    has_header?: boolean;
    sheet?: string;
    decimal_comma?: boolean;
    date_order?: "ymd" | "dmy" | "mdy";
  };
  sheets?: string[];
  columns: { header: string; name: string; kind: Kind }[];
  preview: (string | null)[][];
  mapping: (null | { field: string } | { new: { name: string; kind: string } })[];
  mode: "append" | "upsert" | "skip";
  key_field: string | null;
  max_bad_percent: number;
  has_report: boolean;
  duplicate_of: string | null;
  total: number | null;
  done: number;
  created_rows: number;
  updated_rows: number;
  skipped_rows: number;
  bad_rows: number;
}

export interface ExportData {
  id: string;
  state: "running" | "done" | "failed" | "cancelled";
  /** Code of why it has failed; empty: it has not. */
  reason: string;
  message: string;
  /** What a text of the reason in another language needs. */
  params: Record<string, string | number> | null;
  /** Null: not counted yet. */
  total: number | null;
  done: number;
}

/** An AI field's answer in a cell, and where it comes from. */
export interface CellData {
  state: AiCell["state"];
  why: ("input" | "config")[];
  values: Record<string, Value>;
  error: (Failure & { task?: string }) | null;
  provenance: Provenance | null;
  inputs: Record<string, Value> | null;
  edited: { at: string; by: string | null } | null;
  review: Review & { by: string | null; at: string } | null;
  history: CellVersion[];
}

export interface Provenance {
  task: string;
  started_by: string | null;
  scene: string;
  version: number | string | null;
  model: string | null;
  served_from: string | null;
  attempts: number | null;
  prompt_tokens: number;
  completion_tokens: number;
  cost: string;
  currency: string | null;
  at: string | null;
}

export interface Review {
  thumb: "up" | "down" | null;
  verdict: "accepted" | "rejected" | null;
  note: string;
}

export interface CellVersion {
  reason: string;
  at: string;
  by: string | null;
  values: Record<string, Value>;
  provenance: Provenance | null;
}

/** Which rows, and which of their cells. */
export interface Scope {
  view?: number | null;
  filter?: Group | null;
  rows?: number[];
  first?: number;
  random?: number;
  which?: string;
  overwrite_edited?: boolean;
}

/** A run of an AI field. */
export interface TableRunData extends RunData {
  table: number;
  ai_field: number;
  /** Who pays for it. */
  started_by: string;
  which: string;
  reverted_at: string | null;
}

/** A row of a run. */
export interface RunCell {
  number: number;
  row: number;
  state: string;
  error: Failure | null;
  inputs: Record<string, Value> | null;
}

export interface RunCells {
  items: RunCell[];
}

export interface ScopeEstimate extends Estimate {
  in_scope: number;
  skipped: number;
  duplicates: number;
}

export type SideName = "a" | "b";

/** What one configuration has answered about a row. */
export interface ComparedAnswer {
  state: string | null;
  values: Record<string, Value> | null;
  error: Failure | null;
  cost: string | null;
}

/** One of two configurations; of a blind comparison without what would tell which it is. */
export interface ComparedSide {
  state: string;
  rows: number;
  succeeded: number;
  failed: number;
  /** Its name while the comparison was blind. */
  blind_as?: SideName;
  config?: { scene: string; version: number | null; model: string };
  prompt_tokens?: number;
  completion_tokens?: number;
  cost?: string;
  currency?: string | null;
  /** How many answers are the right ones, by the key of the output. */
  truth?: Record<string, { compared: number; right: number; pairs: TruthPair[] }>;
}

/** In so many rows the right answer is `truth`, and `answer` was given. */
export interface TruthPair {
  truth: string;
  answer: string;
  rows: number;
}

export interface ComparedRow {
  row: number;
  inputs: Record<string, Value> | null;
  a: ComparedAnswer;
  b: ComparedAnswer;
}

/** Of a list: without answers. */
export interface ComparisonItem {
  id: number;
  is_blind: boolean;
  rows: number;
  is_done: boolean;
  created_at: string;
}

export interface Comparison {
  id: number;
  ai_field: number;
  is_blind: boolean;
  sides: Record<SideName, ComparedSide>;
  rows: ComparedRow[];
}
