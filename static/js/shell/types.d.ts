import type { Runs } from "../client/runs.js";
import type { Socket } from "../client/socket.js";
import type { TableAssets } from "../store/types.d.ts";
import type { Drafts } from "../store/drafts.js";
import type { Store } from "../store/store.js";
import type { Scroller } from "./scroller.js";

export interface Route {
  name: "chat" | "scene" | "workshop" | "runs" | "tables" | "waiting" | "settings";
  id: string | null;
}

/** What the shell lends to the page that is open. */
export interface App {
  store: Store;
  runs: Runs;
  /** Bytes of the largest file that a run is made of. */
  runMaxFileBytes: number;
  drafts: Drafts;
  socket: Socket;
  /** What the page of a table loads besides its modules. */
  tableAssets: TableAssets;
  /** Who is logged in. */
  username: string;
  /** The one around the page; every page has one of its own. */
  scroller: Scroller;
  models: { name: string; simulated: boolean }[];
  simulatedModels: Set<string>;
  mayEdit(slug: string): boolean;
  mayPublish(slug: string): boolean;
  /** Say it to those who do not see the page. */
  announce(text: string): void;
  /** The page has become that of another address, without being opened anew. */
  moved(route: Route): void;
  /** The page's title is another now. */
  showTitle(): void;
}

/** One page. It is made when its address is opened, and disposed of when that is left. */
export interface Page {
  readonly title: string;
  readonly element: HTMLElement;
  /** What stays below the scrolling part. */
  readonly dock: HTMLElement | null;
  /** Where it opens: a form at its beginning, a chat at its end. */
  readonly opensAt: "start" | "end";
  focus(): void;
  load(): Promise<void>;
  /** Tasks that were begun elsewhere have changed. */
  refresh(): Promise<void>;
  dispose(): void;
}

export interface PageModule {
  default(app: App, id: string | null): Page;
}
