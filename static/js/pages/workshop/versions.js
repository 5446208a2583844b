/** A scene's versions over REST, with the ETags of what was read: nothing that another editor has
 * changed since is written over. */

import { exchange, request } from "../../net/api.js";
import { copyOf } from "./draft.js";

/** @import { Version } from "./draft.js" */

/** Older ones are in the admin. */
const MAX_LISTED = 100;

export class Versions {
  /** @type {Version[]} newest first */
  list = [];
  /** @type {Version|null} */
  current = null;
  /** @type {Version|null} */
  live = null;
  scene = { slug: "", title: "", live_version: /** @type {number|null} */ (null) };
  #etag = "";
  #sceneEtag = "";
  #path;

  /** @param {string} slug */
  constructor(slug) {
    this.#path = `/scenes/${slug}`;
  }

  /** @param {number|null} [number] without one, the newest draft or else the live version */
  async load(number = null) {
    const [scene, versions] = await Promise.all([
      exchange("GET", this.#path),
      exchange("GET", `${this.#path}/versions?limit=${MAX_LISTED}`),
    ]);
    this.scene = scene.data;
    this.#sceneEtag = scene.etag;
    this.list = versions.data.items;
    this.live = this.list.find(({ is_live }) => is_live) ?? null;
    if (!this.live && this.scene.live_version !== null) {
      this.live = (await exchange("GET", this.#of(this.scene.live_version))).data;
    }
    const newest = this.list[0];
    const wanted = number ?? (newest?.published_at ? this.live?.number : newest?.number) ?? null;
    await this.open(wanted);
  }

  /** Of the version that is open, as it was read. */
  get etag() {
    return this.#etag;
  }

  /** @param {number|null} number */
  async open(number) {
    if (number === null) {
      this.current = null;
      return;
    }
    const { data, etag } = await exchange("GET", this.#of(number));
    this.current = data;
    this.#etag = etag;
  }

  /** A draft that begins as the live version. */
  async copy() {
    const fields = this.live ? copyOf(this.live) : { user_template: "{{ text }}" };
    const { number } = await request("POST", `${this.#path}/versions`, fields);
    await this.load(number);
  }

  /** @param {object} fields @throws {ApiError} precondition_failed if another editor was first */
  async save(fields) {
    await exchange("PATCH", this.#ofCurrent, { body: fields, etag: this.#etag });
    await this.load(this.current?.number);
  }

  async publish() {
    await exchange("POST", `${this.#ofCurrent}/publish`, { etag: this.#etag });
    await this.load(this.current?.number);
  }

  /** Move the scene to the version that is open. */
  async makeLive() {
    const body = { version: this.current?.number };
    await exchange("POST", `${this.#path}/live`, { body, etag: this.#sceneEtag });
    await this.load(this.current?.number);
  }

  async drop() {
    await exchange("DELETE", this.#ofCurrent, { etag: this.#etag });
    await this.load();
  }

  /** @param {object} body @returns {Promise<any>} */
  async preview(body) {
    return (await exchange("POST", `${this.#path}/preview`, { body })).data;
  }

  get #ofCurrent() {
    return this.#of(this.current?.number ?? 0);
  }

  /** @param {number} number */
  #of(number) {
    return `${this.#path}/versions/${number}`;
  }
}
