/** What the REST interface and the WebSocket send, as far as the app reads it. */

import type { Schema } from "../forms/types.d.ts";

export interface Conversation {
  id: string;
  title: string;
  is_answering: boolean;
  created_at: string;
  updated_at: string;
}

export interface Scene {
  slug: string;
  title: string;
  description: string;
  is_enabled: boolean;
  live_version: number | null;
  variables_schema: Schema | null;
}

export interface Message {
  id: string;
  role: string;
  content: string;
  task_id: string | null;
  tool_calls?: { function?: { name?: string } }[] | null;
}

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
  result?: { text: string; reasoning: string; finish_reason: string | null } | null;
  has_text?: boolean;
  has_reasoning?: boolean;
}

export type Status = "queued" | "running" | "succeeded" | "failed" | "cancelled" | "expired";

export interface Usage {
  completion_tokens?: number;
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

/** The data that the page itself brings. */
export interface PageData {
  user_id: number;
  models: { name: string; simulated: boolean }[];
  simulated_models: string[];
  /** Slugs of the scenes that the user may change, and publish; null: all. */
  edited_scenes: string[] | null;
  published_scenes: string[] | null;
  frame_max_bytes: number;
}
