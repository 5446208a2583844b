/** Changes of a table as they are made elsewhere: ids of rows, by revision, over the WebSocket. */

import { ApiError } from "../../client/api.js";
import { detailOf } from "../../client/tasks.js";

/**
 * @import { Socket } from "../../client/socket.js"
 * @typedef {{rev: number, rows: number[], fields: string[]}} Change
 */

/** Begins the `ref` of a subscription, which the table's id ends. */
const SUBSCRIPTION = "table:";

/**
 * Events: `changed` (detail: the Change), `reload` (detail: "fields" or "rows"; read them again), `lost` (detail: the error;
 * there is no access any more).
 */
export class LiveTable extends EventTarget {
  #socket;
  #tableId;
  #after;
  #left = new AbortController();

  /** @param {Socket} socket @param {number} tableId @param {number} rev that is known */
  constructor(socket, tableId, rev) {
    super();
    this.#socket = socket;
    this.#tableId = tableId;
    this.#after = String(rev);
    const { signal } = this.#left;
    socket.addEventListener("open", () => this.#subscribe(), { signal });
    socket.addEventListener("frame", (event) => {
      this.#receive(detailOf(event));
    }, { signal });
    this.#subscribe();
  }

  #subscribe() {
    const ref = SUBSCRIPTION + this.#tableId;
    this.#socket.send({ type: "table.subscribe", table: this.#tableId, after: this.#after, ref });
  }

  /** @param {any} frame */
  #receive(frame) {
    if (frame.type === "error" && frame.ref === SUBSCRIPTION + this.#tableId) {
      this.dispatchEvent(new CustomEvent("lost", { detail: new ApiError(frame.error) }));
      return;
    }
    if (frame.table !== this.#tableId || !frame.type.startsWith("table.")) return;
    if (frame.type === "table.unsubscribed") return;
    this.#after = frame.id;
    if (frame.type === "table.changed") {
      this.dispatchEvent(new CustomEvent("changed", { detail: frame }));
    } else if (frame.type === "table.reload") {
      this.dispatchEvent(new CustomEvent("reload", { detail: frame.reason }));
    }
  }

  dispose() {
    this.#left.abort();
    this.#socket.send({ type: "table.unsubscribe", table: this.#tableId });
  }
}
