/** One run: what is asked before its start, how far it is, its rows, and what can be done with it. */

import { formatDateTime, t } from "../../i18n/i18n.js";
import { html, nothing, render } from "../../lit.js";
import { confirmAction } from "../../shell/dialogs.js";
import { href } from "../../shell/routes.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { RequestState } from "../../ui/request_state.js";
import { allowedActions } from "./allowed.js";
import { fileErrors } from "./errors.js";
import { barTemplate, countsText, figuresTemplate, reasonText, stateBadge } from "./progress.js";
import { Rows } from "./rows.js";
import { Setup } from "./setup.js";

/**
 * @import { App, Page } from "../../shell/types.d.ts"
 * @import { Run } from "../../client/runs.js"
 * @import { RunData } from "../../client/types.d.ts"
 */

/** Rows are read again this long after their counts have changed. */
const REFRESH_MS = 1_000;

/** @implements {Page} */
export class RunPage {
  element = document.createElement("section");
  dock = null;
  opensAt = /** @type {const} */ ("start");
  #app;
  #id;
  /** @type {Run|null} */
  #run = null;
  /** @type {Setup|null} before the start */
  #setup = null;
  /** @type {Rows|null} */
  #rows = null;
  #request = new RequestState(() => this.#show());
  #refreshTimer = 0;
  #left = new AbortController();
  #isFollowing = false;
  /** What was written as the limit of cost of a paused run. @type {string|null} */
  #limit = null;

  /** @param {App} app @param {string} id */
  constructor(app, id) {
    this.#app = app;
    this.#id = id;
    this.element.className = "run";
  }

  get title() {
    return this.#run?.data.name ?? t("runs.title");
  }

  focus() {
    this.element.tabIndex = -1;
    this.element.focus({ preventScroll: true });
  }

  async load() {
    this.#run = await this.#app.runs.get(this.#id);
    this.#app.showTitle();
    await this.#enter();
    this.#follow();
  }

  async refresh() {}

  dispose() {
    this.#left.abort();
    clearTimeout(this.#refreshTimer);
  }

  /** Its state is another than before: other parts are shown. */
  async #enter() {
    const run = this.#run;
    if (!run) return;
    const onChange = () => this.#show();
    if (run.data.state === "ready") {
      this.#setup ??= new Setup(this.#app, run, { onChange, onStart: () => this.#started() });
      this.#rows = null;
    } else if (run.data.state !== "validating" && run.data.state !== "failed") {
      this.#setup = null;
      this.#rows ??= new Rows(this.#app, run, { onChange });
    }
    this.#show();
    await Promise.all([this.#setup?.load(), this.#rows?.load()]);
  }

  async #follow() {
    const run = this.#run;
    if (!run || this.#isFollowing) return;
    this.#isFollowing = true;
    let before = run.data;
    try {
      for await (const now of run.progress({ signal: this.#left.signal })) {
        if (now.state !== before.state) await this.#changed(now);
        if (isOther(before, now)) this.#refreshSoon();
        before = now;
        this.#show();
      }
    } catch (error) {
      this.#request.error = error;
    }
    this.#isFollowing = false;
    this.#show();
  }

  /** @param {RunData} now */
  async #changed({ name, state }) {
    this.#app.announce(t("runs.is_now", { name, state: t(`runs.state.${state}`) }));
    try {
      await this.#run?.reload();
      await this.#enter();
    } catch (error) {
      this.#request.error = error;
    }
  }

  #refreshSoon() {
    if (this.#refreshTimer) return;
    this.#refreshTimer = setTimeout(async () => {
      this.#refreshTimer = 0;
      try {
        await Promise.all([this.#setup?.refresh(), this.#rows?.load()]);
      } catch (error) {
        console.warn("the rows of the run", error);
      }
    }, REFRESH_MS);
  }

  async #started() {
    await this.#enter();
    this.#follow();
  }

  /** @param {() => Promise<unknown>} action */
  #act(action) {
    return this.#request.run(async () => {
      await action();
      await this.#enter();
      this.#follow();
    });
  }

  // --- What can be done -------------------------------------------------------------------------
  /** @param {Run} run */
  #actions(run) {
    const { state, counts } = run.data;
    const may = allowedActions(run.data);
    const { failed } = may;
    const hasResults = counts.succeeded + failed + counts.invalid > 0 && state !== "ready";
    const mayDelete = run.isEnded || state === "ready";
    /** @param {string} label @param {unknown} mark @param {() => Promise<unknown>} action
     * @param {string} [style] */
    const button = (label, mark, action, style = "") =>
      html`
        <button type="button" class="button ${style}" ?disabled=${this.#request.isBusy}
          @click=${() => this.#act(action)}>${mark}<span>${label}</span></button>
      `;
    return html`
      <div class="run-actions">
        ${may.resume
          ? button(t("runs.resume"), icon("play"), () => this.#resume(run), "primary")
          : nothing}
        ${may.pause ? button(t("runs.pause"), icon("pause"), () => run.pause()) : nothing}
        ${may.retry
          ? button(t("runs.retry", { count: failed }), icon("retry"), () => run.retryFailed())
          : nothing}
        ${hasResults ? this.#downloads(run) : nothing}
        ${may.cancel ? button(t("runs.cancel"), icon("stop"), () => this.#cancel(run)) : nothing}
        ${mayDelete ? button(t("runs.delete"), icon("trash"), () => this.#delete(run)) : nothing}
      </div>
    `;
  }

  /** @param {Run} run */
  #downloads(run) {
    return /** @type {const} */ (["csv", "jsonl"]).map((format) =>
      html`
        <a class="button" href=${run.fileAddress(format)} download>
          ${icon("download")}<span>${t(`runs.download_${format}`)}</span>
        </a>
      `
    );
  }

  /** Of a paused run the limit may be raised. @param {RunData} data */
  #limitField({ state, max_cost, currency }) {
    if (state !== "paused") return nothing;
    const change = (/** @type {any} */ { target }) => (this.#limit = target.value.trim());
    return html`
      <div class="field limit-field">
        <label for="run-limit">
          ${currency ? t("runs.max_cost_in", { currency }) : t("runs.max_cost")}
        </label>
        <input id="run-limit" type="text" inputmode="decimal" @input=${change}
          .value=${this.#limit ?? (max_cost === null ? "" : String(Number(max_cost)))}>
        <p class="field-help">${t("runs.max_cost_help")}</p>
      </div>
    `;
  }

  /** @param {Run} run */
  async #resume(run) {
    if (this.#limit !== null) await run.change({ max_cost: this.#limit || null });
    this.#limit = null;
    await run.resume();
  }

  /** @param {Run} run */
  async #cancel(run) {
    const text = t("runs.cancel_text", { name: run.data.name });
    if (await confirmAction(t("runs.cancel_heading"), text, t("runs.cancel"))) await run.cancel();
  }

  /** @param {Run} run */
  async #delete(run) {
    const text = t("runs.delete_text", { name: run.data.name });
    if (!(await confirmAction(t("runs.delete_heading"), text, t("runs.delete")))) return;
    await run.delete();
    location.hash = href({ name: "runs", id: null });
  }

  // --- Showing ----------------------------------------------------------------------------------
  #show() {
    if (this.#run && !this.#left.signal.aborted) render(this.#template(this.#run), this.element);
  }

  /** @param {Run} run */
  #template(run) {
    return html`
      ${this.#head(run)}
      <div class="notices">${notice(this.#request.error)}</div>
      ${fileErrors(run.data)} ${this.#setup?.template() ?? nothing}
      ${this.#rows?.template() ?? nothing}
    `;
  }

  /** @param {Run} run */
  #head(run) {
    const { data } = run;
    const { state } = data;
    const reason = reasonText(data);
    const isUnderWay = state !== "validating" && state !== "ready" && state !== "failed";
    return html`
      <header class="run-head ${isUnderWay ? "" : "short"}">
        <p class="run-facts">
          ${stateBadge(data)} ${this.#isSimulated(data) ? simulatedBadge() : nothing}
          <span>${countsText(data)}</span>
          ${data.scene && state !== "ready"
            ? html`<span dir="auto">${this.#sceneTitle(data.scene)}</span>`
            : nothing}
          ${data.model ? html`<span>${data.model}</span>` : nothing}
          <span>${formatDateTime(data.created_at)}</span>
        </p>
        <p class="run-reason" role="status">${reason}</p>
        ${isUnderWay ? html`${barTemplate(data)} ${figuresTemplate(data)}` : nothing}
        ${this.#limitField(data)} ${this.#actions(run)}
      </header>
    `;
  }

  /** @param {string} slug */
  #sceneTitle(slug) {
    return this.#app.store.scene(slug)?.title || slug;
  }

  /** @param {RunData} data */
  #isSimulated({ model }) {
    const name = model ?? this.#setup?.model ?? "";
    return this.#app.simulatedModels.has(name);
  }
}

function simulatedBadge() {
  return html`
    <span class="badge simulated" title=${t("answer.simulated_help")}>${t(
      "answer.simulated",
    )}</span>
  `;
}

/** @param {RunData} before @param {RunData} now @returns {boolean} rows have ended or begun */
function isOther(before, now) {
  return JSON.stringify(before.counts) !== JSON.stringify(now.counts);
}
