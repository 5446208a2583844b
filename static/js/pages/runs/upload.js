/** The place where a file is dropped or chosen, and sent: a new run. */

import { randomKey } from "../../client/tasks.js";
import { formatBytes, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { ApiError } from "../../net/api.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { Run } from "../../client/runs.js"
 */

const ENDINGS = ".csv,.tsv,.txt,.jsonl,.ndjson,.json";
const JSON_NAME = /\.(?:jsonl|ndjson|json)$/i;
const TABLE_NAME = /\.(?:csv|tsv|txt)$/i;
/** A longer first line is not examined. */
const HEAD_BYTES = 1_048_576;

export class Upload {
  #app;
  #onChange;
  #onMade;
  /** What is being sent, or could not be; under the same key it makes one run. */
  #sent = /** @type {{file: File, key: string}|null} */ (null);
  #isBusy = false;
  #isOver = false;
  /** @type {any} */
  #error = null;

  /** @param {App} app @param {{onChange: () => void, onMade: (run: Run) => void}} callbacks */
  constructor(app, { onChange, onMade }) {
    this.#app = app;
    this.#onChange = onChange;
    this.#onMade = onMade;
  }

  /** @param {File} file @param {string} [key] */
  async #send(file, key = randomKey()) {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#sent = { file, key };
    this.#error = null;
    this.#onChange();
    try {
      this.#check(file);
      const rows = await rowsOf(file);
      const format = JSON_NAME.test(file.name) ? "jsonl" : "csv";
      const fields = { name: file.name.slice(0, 200), format, rows, idempotencyKey: key };
      this.#onMade(await this.#app.runs.create(file, /** @type {any} */ (fields)));
    } catch (error) {
      this.#error = error;
    } finally {
      this.#isBusy = false;
      this.#onChange();
    }
  }

  /** @param {File} file @throws {ApiError} of what the server would refuse after the whole upload */
  #check(file) {
    if (!JSON_NAME.test(file.name) && !TABLE_NAME.test(file.name)) {
      throw new ApiError({ code: "file_format" });
    }
    if (file.size > this.#app.runMaxFileBytes) throw new ApiError({ code: "too_large" });
  }

  /** @param {FileList|null|undefined} files */
  #take(files) {
    if (files?.length) this.#send(files[0]);
  }

  template() {
    return html`
      <label class="drop ${this.#isOver ? "over" : ""}" @drop=${this.#drop}
        @dragover=${this.#dragOver} @dragleave=${this.#dragLeave}>
        <input type="file" class="visually-hidden" accept=${ENDINGS} ?disabled=${this.#isBusy}
          aria-describedby="drop-help" @change=${this.#choose}>
        ${icon("upload")}
        <strong>${t("runs.drop")}</strong>
        <span class="muted" id="drop-help">
          ${t("runs.drop_help", { size: formatBytes(this.#app.runMaxFileBytes) })}
        </span>
        <span class="drop-status" role="status">
          ${this.#isBusy ? t("runs.sending", { name: this.#sent?.file.name ?? "" }) : ""}
        </span>
      </label>
      <div class="notices">${this.#failure()}</div>
    `;
  }

  /** @param {Event} event */
  #choose = ({ target }) => {
    const input = /** @type {HTMLInputElement} */ (target);
    this.#take(input.files);
    // The same file may be chosen once more.
    input.value = "";
  };

  /** @param {DragEvent} event */
  #drop = (event) => {
    event.preventDefault();
    this.#isOver = false;
    this.#take(event.dataTransfer?.files);
    this.#onChange();
  };

  /** @param {DragEvent} event */
  #dragOver = (event) => {
    event.preventDefault();
    if (this.#isOver) return;
    this.#isOver = true;
    this.#onChange();
  };

  #dragLeave = () => {
    this.#isOver = false;
    this.#onChange();
  };

  #failure() {
    if (!this.#error) return nothing;
    const again = () => this.#sent && this.#send(this.#sent.file, this.#sent.key);
    const button = html`
      <button type="button" class="button small" @click=${again}>${t("runs.send_again")}</button>
    `;
    const isLarge = this.#error.code === "too_large";
    const size = formatBytes(this.#app.runMaxFileBytes);
    const error = isLarge ? { code: "file_too_large", message: size } : this.#error;
    return html`${notice(error)} ${this.#error.code === "network" ? button : nothing}`;
  }
}

/**
 * What the lines of a file are, by the first one.
 *
 * @param {File} file @returns {Promise<"variables"|"requests">}
 */
async function rowsOf(file) {
  if (!JSON_NAME.test(file.name)) return "variables";
  const head = await file.slice(0, HEAD_BYTES).text();
  const line = head.split("\n").find((text) => text.trim()) ?? "";
  try {
    const first = JSON.parse(line.replace(/^\ufeff/, ""));
    return ["messages", "body", "scene"].some((name) => name in first) ? "requests" : "variables";
  } catch {
    // The server says what is wrong with it.
    return "variables";
  }
}
