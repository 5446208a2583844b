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

export interface TableAssets {
  /** Addresses of style sheets. */
  styles: string[];
  /** Of the style element that the grid makes, for the content security policy. */
  nonce: string;
  /** Bytes of the largest file that is imported. */
  import_max_bytes: number;
}

/** The data that the page itself brings. */
export interface PageData {
  user_id: number;
  username: string;
  models: { name: string; simulated: boolean }[];
  simulated_models: string[];
  /** Slugs of the scenes that the user may change, and publish; null: all. */
  edited_scenes: string[] | null;
  published_scenes: string[] | null;
  frame_max_bytes: number;
  run_max_file_bytes: number;
  table_assets: TableAssets;
}
