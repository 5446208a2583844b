/** The list of runs, and where a file becomes a new one. */

import { isEnded } from "../../client/runs.js";
import { formatDateTime, formatMoney, t } from "../../i18n/i18n.js";
import { html, nothing, render, repeat } from "../../lit.js";
import { href } from "../../shell/routes.js";
import { newestBy, PagedCollection } from "../../store/paged.js";
import { notice } from "../../ui/notice.js";
import { barTemplate, countsText, stateBadge } from "./progress.js";
import { Upload } from "./upload.js";

/**
 * @import { App, Page } from "../../shell/types.d.ts"
 * @import { RunData } from "../../client/types.d.ts"
 */

const PAGE = 20;
/** Runs of the list that are shown live. */
const MAX_FOLLOWED = 10;
const CHANGING = ["validating", "scheduled", "running", "finishing"];

/** @implements {Page} */
export class RunsPage {
  title = t("runs.title");
  element = document.createElement("section");
  dock = null;
  opensAt = /** @type {const} */ ("start");
  #app;
  #upload;
  /** @type {PagedCollection<RunData>} */
  #list;
  #isLoaded = false;
  #followed = new Set();
  #left = new AbortController();
  /** @type {any} */
  #error = null;

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    this.#list = new PagedCollection({
      pageSize: PAGE,
      keyOf: ({ id }) => id,
      compare: newestBy("id"),
      read: (limit, offset) => app.runs.list({ limit, offset }),
    });
    this.#list.addEventListener("change", () => this.#show());
    this.#upload = new Upload(app, {
      onChange: () => this.#show(),
      onMade: ({ id }) => {
        if (!this.#left.signal.aborted) location.hash = href({ name: "runs", id });
      },
    });
    this.element.className = "runs";
    this.#show();
  }

  focus() {
    this.element.tabIndex = -1;
    this.element.focus({ preventScroll: true });
  }

  async load() {
    await this.#list.loadFirst();
    this.#isLoaded = true;
    this.#show();
    for (const data of this.#list.items) this.#follow(data);
  }

  async refresh() {}

  dispose() {
    this.#left.abort();
  }

  /** @param {RunData} data */
  async #follow(data) {
    const isFull = this.#followed.size >= MAX_FOLLOWED;
    if (isFull || !CHANGING.includes(data.state) || this.#followed.has(data.id)) return;
    this.#followed.add(data.id);
    try {
      const { signal } = this.#left;
      for await (const now of this.#app.runs.of(data).progress({ signal })) this.#list.upsert(now);
    } catch (error) {
      console.warn("a run of the list", error);
    } finally {
      this.#followed.delete(data.id);
    }
  }

  async #loadMore() {
    try {
      await this.#list.loadMore();
      this.#error = null;
    } catch (error) {
      this.#error = error;
    }
    this.#show();
  }

  #show() {
    if (this.#left.signal.aborted) return;
    const { items, hasMore } = this.#list;
    const more = html`
      <button type="button" class="button small" @click=${() => this.#loadMore()}>
        ${t("runs.more")}
      </button>
    `;
    const template = html`
      ${this.#upload.template()}
      <section class="runs-list" aria-labelledby="runs-heading">
        <h2 id="runs-heading">${t("runs.yours")}</h2>
        ${this.#isLoaded && items.length === 0
          ? html`<p class="muted">${t("runs.none")}</p>`
          : nothing}
        <ul class="item-list">${repeat(items, ({ id }) => id, runTemplate)}</ul>
        <div class="notices">${notice(this.#error)}</div>
        ${hasMore ? more : nothing}
      </section>
    `;
    render(template, this.element);
  }
}

/** @param {RunData} run */
function runTemplate(run) {
  const cost = Number(run.cost) ? formatMoney(run.cost, run.currency) : nothing;
  return html`
    <li class="run-item" data-key=${run.id}>
      <a href=${href({ name: "runs", id: run.id })}>
        <span class="item-name" dir="auto">${run.name}</span>
        ${stateBadge(run)}
        <span class="muted run-item-counts">${countsText(run)}</span>
        <span class="muted run-item-cost">${cost}</span>
        <span class="muted run-item-time">${formatDateTime(run.created_at)}</span>
        ${isEnded(run.state) || run.state === "ready" ? nothing : barTemplate(run)}
      </a>
    </li>
  `;
}
