/** A new run of an AI field: which cells, what it costs, and its start. */

import { fromInput } from "../../forms/moments.js";
import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { estimateTemplate, startTemplate } from "../runs/estimate.js";
import { checkField, idOf, inputField, selectField } from "./forms.js";

/**
 * @import { Context } from "./panel.js"
 * @import { When } from "../runs/estimate.js"
 * @import { AiField, Scope, ScopeEstimate, TableRunData } from "./types.d.ts"
 */

const TRY_ROWS = 10;
const WAIT_MS = 300;
const ROWS = /** @type {const} */ (["view", "all", "selected", "first", "random"]);
const WHICH = /** @type {const} */ ([
  "empty",
  "empty_or_stale",
  "stale",
  "failed",
  "rejected",
  "all",
]);

export class RunForm {
  #context;
  #ai;
  #onChange;
  #onMade;
  #form = {
    rows: "view",
    which: "empty",
    number: "100",
    overwrites: false,
    shares: false,
    max: "",
    /** AI fields that this one reads are filled in the same turn. */
    chains: false,
  };
  #start = { when: /** @type {When} */ ("now"), at: "", error: "" };
  /** @type {number[]} */
  #selected = [];
  /** @type {ScopeEstimate|null} */
  #estimate = null;
  #isEstimating = false;
  #estimates = 0;
  #timer = 0;
  #isBusy = false;
  /** @type {any} */
  #error = null;
  /** Why there is no estimate. @type {any} */
  #refusal = null;

  /**
   * @param {Context} context @param {AiField} ai
   * @param {{onChange: () => void, onMade: (run: TableRunData) => void}} callbacks
   */
  constructor(context, ai, { onChange, onMade }) {
    this.#context = context;
    this.#ai = ai;
    this.#onChange = onChange;
    this.#onMade = onMade;
    this.#begin();
  }

  async #begin() {
    this.#selected = await this.#context.selectedRows();
    if (this.#selected.length > 1) this.#form.rows = "selected";
    this.#refresh();
    const states = this.#sources.map(({ id }) => this.#context.api.cellStates(id));
    const found = await Promise.all(states).catch(() => []);
    // Without them every row whose input is missing would be skipped.
    this.#form.chains = found.some(({ counts }) => counts.none > 0);
    this.#onChange();
  }

  /** @returns {Scope} */
  get #scope() {
    const { rows, which, number, overwrites } = this.#form;
    const { filter } = this.#context.session.view.state;
    const isOfView = rows !== "all" && rows !== "selected";
    return {
      which,
      overwrite_edited: overwrites,
      ...(isOfView && filter ? { filter } : {}),
      ...(rows === "selected" ? { rows: this.#selected } : {}),
      ...(rows === "first" || rows === "random"
        ? { [rows]: Math.max(1, Number(number) || 1) }
        : {}),
    };
  }

  #refreshSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), WAIT_MS);
    this.#onChange();
  }

  async #refresh() {
    const estimate = ++this.#estimates;
    this.#isEstimating = true;
    this.#onChange();
    /** @type {ScopeEstimate|null} */
    let found = null;
    let refusal = null;
    try {
      found = await this.#context.api.estimate(this.#ai.id, this.#scope);
    } catch (error) {
      refusal = error;
    }
    if (estimate !== this.#estimates) return;
    this.#isEstimating = false;
    this.#estimate = found;
    this.#refusal = refusal;
    this.#onChange();
  }

  /** @param {object} options */
  async #make(options) {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#error = null;
    this.#onChange();
    try {
      const { max, shares } = this.#form;
      const given = { scope: this.#scope, share_equal: shares, max_cost: max.trim() || null };
      const { id, runs } = await this.#context.api.addRun(this.#ai.id, { ...given, ...options });
      this.#onMade(runs.find((run) => run.id === id) ?? runs[0]);
    } catch (error) {
      this.#error = error;
    }
    this.#isBusy = false;
    this.#onChange();
  }

  /** AI fields whose answers this one reads, and those that they read. @returns {AiField[]} */
  get #sources() {
    const { aiFields } = this.#context.session;
    /** @type {Set<AiField>} */
    const found = new Set();
    const wanted = [this.#ai];
    for (const ai of wanted) {
      const read = Object.values(ai.mapping);
      for (const other of aiFields) {
        if (found.has(other) || !other.outputs.some(({ key }) => read.includes(key))) continue;
        found.add(other);
        wanted.push(other);
      }
    }
    return [...found];
  }

  #begins() {
    const { when, at } = this.#start;
    this.#start.error = when === "at" && !at ? t("form.no_date_time") : "";
    if (this.#start.error) return this.#onChange();
    const start_at = when === "at" ? fromInput("date-time", at) : null;
    const also = this.#form.chains ? this.#sources.map(({ id }) => id) : [];
    this.#make({ start: when, start_at, also });
  }

  template() {
    const isReady = this.#estimate !== null && !this.#isBusy;
    // What the answers to come will ask about cannot be estimated, but asked.
    const mayStart = isReady ||
      (this.#form.chains && this.#sources.length > 0 && !this.#isBusy && !this.#isEstimating);
    const form = {
      ...this.#start,
      onWhen: (/** @type {When} */ when) => this.#setStart({ when }),
      onAt: (/** @type {string} */ at) => this.#setStart({ at }),
    };
    return html`
      <h3 dir="auto">${this.#ai.name}</h3>
      ${this.#scopeFields()}
      <section aria-busy=${String(this.#isEstimating)} aria-label=${t("runs.estimate")}>
        ${notice(this.#refusal)} ${this.#estimate
          ? this.#estimateTemplate(this.#estimate)
          : nothing}
      </section>
      ${inputField({
        id: idOf(this.#form, "max"),
        label: this.#maxLabel,
        value: this.#form.max,
        mode: "decimal",
        help: t("runs.max_cost_help"),
        onChange: (max) => (this.#form.max = max),
      })}
      ${startTemplate(form, this.#estimate)}
      <div class="notices">${notice(this.#error)}</div>
      <div class="run-actions">
        <button type="button" class="button primary" ?disabled=${!isReady}
          @click=${() => this.#make({ try: TRY_ROWS })}>
          ${icon("send")}${t("runs.try", { count: this.#rowsToTry })}
        </button>
        <button type="button" class="button" ?disabled=${!mayStart} @click=${() => this.#begins()}>
          ${icon("play")}${t("tables.run_all")}
        </button>
      </div>
    `;
  }

  get #rowsToTry() {
    return Math.max(1, Math.min(TRY_ROWS, this.#estimate?.rows ?? TRY_ROWS));
  }

  get #maxLabel() {
    const currency = this.#estimate?.currency;
    return currency ? t("runs.max_cost_in", { currency }) : t("runs.max_cost");
  }

  /** @param {object} changes */
  #setStart(changes) {
    this.#start = { ...this.#start, error: "", ...changes };
    this.#onChange();
  }

  #scopeFields() {
    const form = this.#form;
    const set = (/** @type {Partial<typeof form>} */ changes) => {
      Object.assign(form, changes);
      this.#refreshSoon();
    };
    const rows = ROWS.filter((name) => name !== "selected" || this.#selected.length > 0);
    const selected = this.#selected.length;
    const sources = this.#sources.map(({ name }) => name).join(", ");
    return html`
      ${selectField({
        id: idOf(form, "rows"),
        label: t("tables.scope_rows"),
        value: form.rows,
        options: rows.map((name) => [name, t(`tables.scope_${name}`, { count: selected })]),
        onChange: (name) => set({ rows: name }),
      })}
      ${form.rows === "first" || form.rows === "random"
        ? inputField({
          id: idOf(form, "number"),
          label: t("tables.scope_number"),
          value: form.number,
          mode: "numeric",
          onChange: (number) => set({ number }),
        })
        : nothing}
      ${selectField({
        id: idOf(form, "which"),
        label: t("tables.scope_which"),
        value: form.which,
        options: WHICH.map((name) => [name, t(`tables.which_${name}`)]),
        onChange: (which) => set({ which }),
      })}
      ${checkField({
        label: t("tables.overwrite_edited"),
        isOn: form.overwrites,
        onChange: (overwrites) => set({ overwrites }),
      })}
      ${checkField({
        label: t("tables.share_equal"),
        isOn: form.shares,
        onChange: (shares) => set({ shares }),
      })}
      ${sources
        ? html`
          ${checkField({
            label: t("tables.chains", { names: sources }),
            isOn: form.chains,
            onChange: (chains) => set({ chains }),
          })}
          <p class="field-help">${t("tables.chains_help")}</p>
        `
        : nothing}
    `;
  }

  /** @param {ScopeEstimate} estimate */
  #estimateTemplate(estimate) {
    const { skipped, duplicates } = estimate;
    return html`
      ${estimateTemplate(estimate)}
      ${skipped
        ? html`<p class="muted">${t("tables.skipped_rows", { count: skipped })}</p>`
        : nothing}
      ${duplicates
        ? html`<p class="muted">${t("tables.duplicate_rows", { count: duplicates })}</p>`
        : nothing}
    `;
  }
}
