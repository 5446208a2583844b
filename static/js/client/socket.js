/** The WebSocket: reconnects by itself, reports its state, passes frames on. Independent of tasks. */

import { stringify } from "./json.js";

const SUBPROTOCOL = "aily.v1";
/** A dead network says nothing: the page that is looked at has to know within ten seconds. */
const CHECK_MS = 1_000;
const QUIET_MS = { visible: 4_000, hidden: 25_000 };
const PONG_MS = 4_000;
const BACKOFF_MS = { first: 400, max: 20_000, limited: 15_000 };
/** After a connection that lasted this long, the next wait is short again. */
const STABLE_MS = 5_000;

export const CLOSE = { BAD_FRAME: 4400, UNAUTHENTICATED: 4401, LIMITED: 4429 };

/**
 * Events: `state` (after each change of `state`), `open` (the server said hello, frames may be
 * sent), `reopen` (the same, but not for the first time), `frame` (detail: the frame),
 * `unauthenticated`, `rejected` (the server refused a frame).
 */
export class Socket extends EventTarget {
  /** @type {"connecting"|"open"|"waiting"|"closed"} */
  state = "connecting";
  #url;
  #protocols;
  /** @type {WebSocket|null} */
  #socket = null;
  #failures = 0;
  #wasOpen = false;
  #retryTimer = 0;
  #pingTimer = 0;
  #heardAt = 0;
  #pongTimer = 0;

  /**
   * @param {string} url such as "wss://aily.example/ws/llmchat/"
   * @param {string} [key] an API key; none: the page's session
   */
  constructor(url, key) {
    super();
    this.#url = url;
    // Browsers' sockets have no headers: a key travels as a subprotocol, never in the URL.
    this.#protocols = key ? [SUBPROTOCOL, `aily.bearer.${key}`] : [SUBPROTOCOL];
    if (globalThis.document) this.#watchPage();
  }

  /** A page learns of a network that is back, or gone, before its socket does. */
  #watchPage() {
    globalThis.addEventListener("online", () => this.#retryNow());
    globalThis.addEventListener("offline", () => this.#ping());
    globalThis.addEventListener("pageshow", (event) => event.persisted && this.#retryNow());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState !== "visible") return;
      this.#retryNow();
      this.#ping();
    });
  }

  connect() {
    clearTimeout(this.#retryTimer);
    this.#setState("connecting");
    const socket = new WebSocket(this.#url, this.#protocols);
    this.#socket = socket;
    socket.addEventListener("message", (event) => this.#receive(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => {
      if (this.#socket === socket) this.#closed(event.code);
    });
  }

  /** End the connection for good. */
  close() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#retryTimer);
    this.#stopPings();
    socket?.close();
    this.#setState("closed");
  }

  /** @param {object} frame @returns {boolean} false when there is no connection to send it on */
  send(frame) {
    if (this.state !== "open" || !this.#socket) return false;
    this.#socket.send(stringify(frame));
    return true;
  }

  /** @param {{type: string}} frame */
  #receive(frame) {
    clearTimeout(this.#pongTimer);
    this.#pongTimer = 0;
    this.#heardAt = Date.now();
    if (frame.type === "hello") {
      this.#opened();
    } else if (frame.type !== "pong") {
      this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
    }
  }

  #opened() {
    const socket = this.#socket;
    setTimeout(() => {
      if (this.#socket === socket) this.#failures = 0;
    }, STABLE_MS);
    clearInterval(this.#pingTimer);
    this.#pingTimer = setInterval(() => this.#pingIfQuiet(), CHECK_MS);
    this.#setState("open");
    this.dispatchEvent(new Event("open"));
    if (this.#wasOpen) this.dispatchEvent(new Event("reopen"));
    this.#wasOpen = true;
  }

  #pingIfQuiet() {
    const isHidden = globalThis.document?.visibilityState === "hidden";
    const quiet = QUIET_MS[isHidden ? "hidden" : "visible"];
    if (Date.now() - this.#heardAt >= quiet) this.#ping();
  }

  #ping() {
    if (this.#pongTimer || !this.send({ type: "ping" })) return;
    const socket = this.#socket;
    // A dead network closes nothing by itself, and close() would wait for an answer.
    this.#pongTimer = setTimeout(() => {
      socket?.close();
      if (this.#socket === socket) this.#closed(0);
    }, PONG_MS);
  }

  /** @param {number} code */
  #closed(code) {
    this.#socket = null;
    this.#stopPings();
    if (code === CLOSE.UNAUTHENTICATED) {
      this.#setState("closed");
      this.dispatchEvent(new Event("unauthenticated"));
      return;
    }
    if (code === CLOSE.BAD_FRAME) this.dispatchEvent(new Event("rejected"));
    this.#setState("waiting");
    this.#retryTimer = setTimeout(() => this.connect(), this.#backoffMs(code));
  }

  #stopPings() {
    clearInterval(this.#pingTimer);
    clearTimeout(this.#pongTimer);
    this.#pongTimer = 0;
  }

  /**
   * Doubles with each failure; half of it by chance, so that tabs do not return in step.
   *
   * @param {number} code of the close
   */
  #backoffMs(code) {
    const doubled = BACKOFF_MS.first * 2 ** this.#failures++;
    const minimum = code === CLOSE.LIMITED ? BACKOFF_MS.limited : 0;
    return minimum + Math.min(doubled, BACKOFF_MS.max) * (0.5 + Math.random() / 2);
  }

  #retryNow() {
    if (this.state === "waiting") this.connect();
  }

  /** @param {Socket["state"]} state */
  #setState(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
