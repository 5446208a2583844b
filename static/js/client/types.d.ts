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
}

export type Status = "queued" | "running" | "succeeded" | "failed" | "cancelled" | "expired";

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
  toolCalls: ToolCall[];
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
  | { type: "ended"; task: TaskState };

export interface ClientOptions {
  /** Of the installation, such as "https://aily.example"; default: the page's. */
  url?: string;
  /** An API key; default: the page's session. */
  key?: string;
  /** How long to go on without a connection, or where the server is full. */
  giveUpSeconds?: number;
}
