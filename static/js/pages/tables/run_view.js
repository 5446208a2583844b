/** One run of an AI field: how far it is, why cells failed, and what can be done with it. */

import { isEnded } from "../../client/runs.js";
import { formatNumber, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { confirmAction } from "../../shell/dialogs.js";
import { icon } from "../../ui/icons.js";
import { detailTemplate, explain, notice } from "../../ui/notice.js";
import { RequestState } from "../../ui/request_state.js";
import { allowedActions } from "../runs/allowed.js";
import { estimateTemplate } from "../runs/estimate.js";
import {
  barTemplate,
  countsText,
  figuresTemplate,
  reasonText,
  stateBadge,
} from "../runs/progress.js";
import { CLIENT } from "./api.js";
import { idOf, inputField } from "./forms.js";
import { readTried, triedTemplate } from "./tried_rows.js";

/**
 * @import { ErrorGroup, Estimate } from "../../client/types.d.ts"
 * @import { Context } from "./panel.js"
 * @import { TableRunData } from "./types.d.ts"
 */

/** Reasons of failures are read again this long after more rows have failed. */
const REFRESH_MS = 1_000;

export class RunView {
  #context;
  /** @type {TableRunData} */
  #run;
  #onChange;
  #onEnd;
  /** @type {ErrorGroup[]} */
  #groups = [];
  /** @type {Estimate|null} of the rest, before the start */
  #estimate = null;
  #max;
  /** @type {import("./tried_rows.js").Tried[]} before the start */
  #tried = [];
  #request;
  #timer = 0;
  #left = new AbortController();
  #isFollowing = false;

  /**
   * @param {Context} context @param {TableRunData} run
   * @param {{onChange: () => void, onEnd: () => void}} callbacks
   */
  constructor(context, run, { onChange, onEnd }) {
    this.#context = context;
    this.#run = run;
    this.#onChange = onChange;
    this.#onEnd = onEnd;
    this.#request = new RequestState(onChange);
    this.#max = run.max_cost === null ? "" : String(Number(run.max_cost));
    this.#follow();
    this.#readMore();
  }

  async #follow() {
    if (this.#isFollowing) return;
    this.#isFollowing = true;
    const { signal } = this.#left;
    try {
      for await (const now of this.#context.app.runs.of(this.#run).progress({ signal })) {
        const isOther = now.state !== this.#run.state;
        const hasFailed = now.counts.failed !== this.#run.counts.failed;
        const hasTried = now.counts.open === 0 && this.#run.counts.open > 0;
        this.#run = { ...this.#run, ...now };
        if (isOther) this.#announce();
        if (hasFailed || hasTried || isOther) this.#readSoon();
        this.#onChange();
      }
      if (!signal.aborted) this.#onEnd();
    } catch (error) {
      this.#request.error = error;
    }
    this.#isFollowing = false;
    if (!signal.aborted) this.#onChange();
  }

  /** Who started it pays, so nobody else goes on with it. */
  get #isOwn() {
    return this.#run.started_by === this.#context.app.username;
  }

  #announce() {
    const { name, state } = this.#run;
    this.#context.app.announce(t("runs.is_now", { name, state: t(`runs.state.${state}`) }));
  }

  #readSoon() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#readMore();
    }, REFRESH_MS);
  }

  async #readMore() {
    const { api } = this.#context;
    const { id, state } = this.#run;
    try {
      this.#groups = await api.runErrors(id);
      const isReady = state === "ready";
      this.#tried = isReady ? await readTried(this.#context, this.#run) : [];
      const mayStart = isReady && this.#isOwn && this.#context.session.may.run;
      this.#estimate = mayStart ? await api.actOnRun(id, "estimate") : null;
    } catch (error) {
      console.warn("more of a run", error);
    }
    if (!this.#left.signal.aborted) this.#onChange();
  }

  /** @param {() => Promise<unknown>} action */
  #act(action) {
    return this.#request.run(async () => {
      await action();
      this.#run = { ...this.#run, ...(await this.#context.api.run(this.#run.id)) };
      this.#follow();
      this.#readSoon();
    });
  }

  /** @param {Parameters<Context["api"]["actOnRun"]>[1]} action @param {object} [options] */
  #do(action, options) {
    return this.#act(() => this.#context.api.actOnRun(this.#run.id, action, options));
  }

  /** With the limit of cost that was written. @param {"start"|"resume"} action @param {object} [options] */
  #go(action, options) {
    const { api } = this.#context;
    const { id, max_cost } = this.#run;
    const wanted = this.#max.trim() || null;
    const isOther = wanted !== (max_cost === null ? null : String(Number(max_cost)));
    return this.#act(async () => {
      if (isOther) await api.changeRun(id, { max_cost: wanted });
      await api.actOnRun(id, action, options);
    });
  }

  async #cancel() {
    const { name, state } = this.#run;
    const text = t("runs.cancel_text", { name });
    const isAsked = state !== "ready";
    if (isAsked && !(await confirmAction(t("runs.cancel_heading"), text, t("runs.cancel")))) return;
    await this.#do("cancel");
  }

  async #revert() {
    const text = t("tables.revert_text", { name: this.#run.name });
    if (!(await confirmAction(t("tables.revert_heading"), text, t("tables.revert")))) return;
    await this.#act(async () => {
      const { api, say } = this.#context;
      const { rows } = await api.actOnRun(this.#run.id, "revert", { client: CLIENT });
      say(t("tables.reverted", { count: rows }));
    });
  }

  // --- Showing ------------------------------------------------------------------------------------
  template() {
    const run = this.#run;
    const mayRun = this.#context.session.may.run;
    const mayGoOn = mayRun && this.#isOwn;
    return html`
      <section class="run-view" data-run=${run.id}>
        <h3 dir="auto">${run.name}</h3>
        <p class="run-facts">
          ${stateBadge(run)}
          ${this.#context.app.simulatedModels.has(run.model ?? "")
            ? html`<span class="badge simulated">${t("answer.simulated")}</span>`
            : nothing}
          <span>${countsText(run)}</span>
          ${run.model ? html`<span>${run.model}</span>` : nothing}
          ${this.#isOwn
            ? nothing
            : html`<span dir="auto">${t("tables.run_of", { name: run.started_by })}</span>`}
        </p>
        <p class="run-reason" role="status">${reasonText(run)}</p>
        ${barTemplate(run)} ${figuresTemplate(run)}
        ${this.#estimate && this.#estimate.rows ? estimateTemplate(this.#estimate) : nothing}
        ${mayGoOn && (run.state === "paused" || run.state === "ready")
          ? this.#limitField()
          : nothing}
        <div class="notices">${notice(this.#request.error)}</div>
        ${mayRun ? this.#actions(run) : nothing}
        ${triedTemplate(this.#tried, this.#context.session.data.fields, run.ai_field)}
        ${this.#groups.length ? this.#reasons() : nothing}
      </section>
    `;
  }

  #limitField() {
    const { currency } = this.#run;
    return inputField({
      id: idOf(this, "max"),
      label: currency ? t("runs.max_cost_in", { currency }) : t("runs.max_cost"),
      value: this.#max,
      mode: "decimal",
      help: t("runs.max_cost_help"),
      onChange: (max) => (this.#max = max),
    });
  }

  /** @param {TableRunData} run */
  #actions(run) {
    const { state, counts, reverted_at } = run;
    const allowed = allowedActions(run);
    const may = {
      start: this.#isOwn && state === "ready" && counts.pending > 0,
      resume: this.#isOwn && allowed.resume,
      pause: allowed.pause,
      retry: this.#isOwn && allowed.retry,
      cancel: allowed.cancel || state === "ready",
      revert: counts.succeeded > 0 && isEnded(state) && !reverted_at,
    };
    return html`
      <div class="run-actions">
        ${may.start
          ? this.#button(
            t("tables.run_rest"),
            "play",
            () => this.#go("start", { start: "now" }),
            "primary",
          )
          : nothing}
        ${may.resume
          ? this.#button(t("runs.resume"), "play", () => this.#go("resume"), "primary")
          : nothing}
        ${may.pause ? this.#button(t("runs.pause"), "pause", () => this.#do("pause")) : nothing}
        ${may.retry
          ? this.#button(
            t("runs.retry", { count: allowed.failed }),
            "retry",
            () => this.#do("retry-failed"),
          )
          : nothing}
        ${may.cancel ? this.#button(t("runs.cancel"), "stop", () => this.#cancel()) : nothing}
        ${may.revert ? this.#button(t("tables.revert"), "undo", () => this.#revert()) : nothing}
      </div>
    `;
  }

  /** @param {string} label @param {Parameters<typeof icon>[0]} mark @param {() => void} action
   * @param {string} [style] */
  #button(label, mark, action, style = "") {
    return html`
      <button type="button" class="button small ${style}" ?disabled=${this
        .#request.isBusy} @click=${action}>
        ${icon(mark)}<span>${label}</span>
      </button>
    `;
  }

  #reasons() {
    return html`
      <h4>${t("runs.reasons")}</h4>
      <ul class="run-reasons">
        ${this.#groups.map(({ code, message, params, rows }) =>
          html`
            <li>
              <span class="reason-rows">${formatNumber(rows)}</span>
              <span class="reason-text">
                <strong>${explain({ code, message }).title}</strong>
                ${detailTemplate({ code, message, params })}
              </span>
            </li>
          `
        )}
      </ul>
    `;
  }

  dispose() {
    this.#left.abort();
    clearTimeout(this.#timer);
  }
}
