/** What the REST interface and the WebSocket send of tasks, and what the client makes of it. */

/** A task of a list (without `result`), or one read by itself. */
export interface TaskRow {
  task_id: string;
  status: Status;
  attempt: number;
  scene: string | null;
  model: string | null;
  conversation_id: string | null;
  history_from: string | null;
  position: number | null;
  eta_seconds: number | null;
  timings: { created_at: string };
  usage: Usage | null;
  error: TaskError | null;
  result?: {
    text: string;
    reasoning: string;
    finish_reason: string | null;
    tool_calls: ToolCall[];
  } | null;
  has_text?: boolean;
  has_reasoning?: boolean;
  has_tools?: boolean;
  tool_calls?: CallRow[];
}

export type Status =
  | "queued"
  | "running"
  | "calling_tools"
  | "requires_action"
  | "succeeded"
  | "failed"
  | "cancelled"
  | "expired";

/** A call of a tool that aily makes for the task, as the server sends it. */
export interface CallRow {
  call_id: string;
  step?: number;
  tool?: string;
  server?: string | null;
  /** JSON, as the model or the user wrote it. */
  arguments?: string;
  edited_arguments?: string | null;
  /** The arguments, or the text, are cut. */
  is_truncated?: boolean;
  state?: CallState;
  is_error?: boolean | null;
  text?: string | null;
  duration_seconds?: number | null;
  deadline?: string | null;
  reason?: string | null;
  /** Of an event: input, if the fields of `InputQuestion` are there. */
  kind?: string;
  message?: string;
  schema?: InputSchema;
  question?: number;
  /** Of a row: what its tool asks while it waits for the answer. */
  input?: InputQuestion | null;
}

/** What a tool asks its user in the middle of a call. */
export interface InputQuestion {
  /** Counts the questions of the call, from 1. */
  question: number;
  message: string;
  schema: InputSchema;
}

export interface InputSchema {
  properties: Record<string, InputField>;
  required: string[];
}

export interface InputField {
  type: "string" | "number" | "integer" | "boolean";
  title?: string;
  description?: string;
  format?: string;
  enum?: string[];
  enumNames?: string[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  default?: string | number | boolean;
}

export type CallState =
  | "queued"
  | "running"
  | "requires_action"
  | "succeeded"
  | "failed"
  | "rejected"
  | "cancelled"
  | "unknown";

export interface CallOfTool {
  id: string;
  /** The steps of a task count from 1; the calls of a step are made at once. */
  step: number;
  tool: string;
  server: string;
  /** JSON, as the model or the user wrote it. */
  arguments: string;
  /** Some of the arguments is left out: the task itself has them. */
  isCut: boolean;
  state: CallState;
  /** What the tool answered; null: nothing yet. */
  text: string | null;
  durationSeconds: number | null;
  /** Until when it may be decided on. */
  deadline: string | null;
  /** Why it was rejected. */
  reason: string;
  /** What its tool asks, or asked last; null: nothing. */
  input: InputQuestion | null;
}

/** What a user says to a call that asks for it. */
export type Decision =
  // deno-lint-ignore no-explicit-any
  | { decision: "approve"; arguments?: any }
  // deno-lint-ignore no-explicit-any
  | { decision: "approve"; input: Record<string, any>; question?: number }
  | { decision: "reject"; reason?: string; question?: number };

export interface Usage {
  completion_tokens?: number;
}

export interface ToolCall {
  id: string;
  name: string;
  /** JSON as the model wrote it. */
  arguments: string;
}

export interface TaskError {
  code: string;
  message: string;
  /** Of a row that could not be sent: the field at fault, and what a text in another language needs. */
  param?: string;
  params?: Record<string, string | number>;
}

/** A frame from the server; which fields it has depends on its type (see chat/PROTOCOL.md). */
// deno-lint-ignore no-explicit-any
export type Frame = { type: string; task_id: string; id?: string } & Record<string, any>;

export interface TaskState {
  id: string;
  /** Slug of the scene it was asked through. */
  scene: string | null;
  status: Status;
  /** Id of the last event that is part of this state. */
  cursor: string | null;
  attempt: number;
  text: string;
  /** A snapshot has begun whose last piece is still to come. */
  inPieces: boolean;
  /** The text is not whole: the task itself has it. */
  isCut: boolean;
  reasoning: string;
  /** Those that the answer consists of: the caller's own tools. */
  toolCalls: ToolCall[];
  /** Those that aily makes for the answer, in their order. */
  calls: CallOfTool[];
  model: string;
  /** Place in the queue, from 1. */
  position: number | null;
  etaSeconds: number | null;
  error: TaskError | null;
  usage: Usage;
  finishReason: string | null;
  /** Id of the first message of the conversation that the model was sent; null: all of them were. */
  historyFrom: string | null;
}

/** What happened to a task; `task` is its state after that. */
export type TaskEvent =
  | { type: "queued"; task: TaskState }
  | { type: "started"; task: TaskState }
  /** `added` is null where the text began anew: take `task.text` then. */
  | { type: "text"; task: TaskState; added: string | null }
  /** A call of a tool has begun, ended, or asks for a decision: see `task.calls`. */
  | { type: "tools"; task: TaskState }
  | { type: "ended"; task: TaskState };

/** A run. What a list, and progress, have not is left out there. */
export interface RunData {
  id: string;
  name: string;
  state: RunState;
  /** Why it is in its state: a code; empty: as it was asked to. */
  reason: string;
  message: string;
  /** What a text of the reason in another language needs. */
  params: Record<string, string | number> | null;
  scene: string;
  version: number | null;
  /** Null before the start. */
  model: string | null;
  lane: string;
  start: string;
  start_at: string | null;
  deadline_at: string | null;
  /** Decimal numbers in the currency. */
  max_cost: string | null;
  cost: string;
  currency: string;
  prompt_tokens: number;
  completion_tokens: number;
  counts: RunCounts;
  rows_per_second: number | null;
  eta_seconds: number | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  format?: "csv" | "jsonl";
  rows?: "variables" | "requests";
  encoding?: string;
  columns?: string[];
  mapping?: Mapping;
  // deno-lint-ignore no-explicit-any
  options?: Record<string, any>;
  errors?: LineError[];
}

export type RunState =
  | "validating"
  | "ready"
  | "scheduled"
  | "running"
  | "paused"
  | "finishing"
  | "done"
  | "cancelled"
  | "failed"
  | "expired";

export type RowState =
  | "pending"
  | "open"
  | "succeeded"
  | "failed"
  | "cancelled"
  | "expired"
  | "invalid";

export type RunCounts = Record<RowState | "total", number>;

/** Of each variable: its column, or a constant. */
export type Mapping = Record<string, string | { value: unknown } | { examples: number }>;

/** Fields of a new run; `change` takes some of them. */
export interface RunFields {
  name?: string;
  format?: "csv" | "jsonl";
  rows?: "variables" | "requests";
  encoding?: string;
  delimiter?: string;
  key_column?: string;
  scene?: string;
  version?: number | null;
  mapping?: Mapping;
  /** Fields of every request, such as `model` and `max_tokens`. */
  options?: Record<string, unknown>;
  lane?: string;
  deadline_at?: string | Date | null;
  max_cost?: string | number | null;
  max_open?: number | null;
  webhook?: number | null;
  start?: "now" | "off_peak" | "at";
  start_at?: string | Date | null;
  /** Under the same key, the same run is made once. Default: a new one. */
  idempotencyKey?: string;
}

export interface LineError {
  line: number | null;
  code: string;
  message: string;
  param: string | null;
  params?: Record<string, string | number>;
}

export interface RunRow {
  number: number;
  line: number;
  key: string;
  state: RowState;
  error: TaskError | null;
  task_id: string | null;
  payload: Record<string, unknown> | null;
  /** The beginning of its answer. */
  text: string | null;
}

export interface RowPage {
  items: RunRow[];
  /** The `after` of the next page. */
  next: number | null;
}

export interface ErrorGroup {
  code: string;
  message: string;
  param: string | null;
  params: Record<string, string | number>;
  rows: number;
  numbers: number[];
}

export interface Amount {
  prompt_tokens: number;
  completion_tokens: number;
  cost: string;
}

export interface Estimate {
  rows: number;
  model: string;
  currency: string;
  based_on: "rows" | "history" | "limits";
  likely: Amount;
  at_most: Amount;
  off_peak: Amount;
  off_peak_at: string;
  seconds: number | null;
  problems: {
    row: number;
    code: string;
    message: string;
    field: string | null;
    params: Record<string, string | number>;
  }[];
  sampled: number;
  /** Rows that kept answers are given to, for nothing. */
  cached: number;
  /** Rows that are given the answer of an equal one. */
  shared: number;
}

/** A line of the file of results. */
export interface ResultRow {
  row: number;
  line: number;
  key: string | null;
  state: RowState;
  // deno-lint-ignore no-explicit-any
  input: any;
  result: { text: string; finish_reason: string | null; tool_calls: ToolCall[] } | null;
  error: TaskError | null;
  model: string | null;
  task_id: string | null;
  prompt_tokens: number;
  completion_tokens: number;
  cost: string;
  ended_at: string | null;
}

export interface ClientOptions {
  /** Of the installation, such as "https://aily.example"; default: the page's. */
  url?: string;
  /** An API key; default: the page's session. */
  key?: string;
  /** How long to go on without a connection, or where the server is full. */
  giveUpSeconds?: number;
}
