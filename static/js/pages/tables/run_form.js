/** A new run of an AI field: which cells, what it costs, and its start. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { RequestState } from "../../ui/request_state.js";
import { estimateTemplate } from "../runs/estimate.js";
import { Estimation } from "../runs/estimation.js";
import { StartForm } from "../runs/start_form.js";
import { checkField, idOf, inputField, selectField } from "./forms.js";

/**
 * @import { Context } from "./panel.js"
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
  /** @type {number[]} */
  #selected = [];
  /** @type {Estimation<ScopeEstimate>} */
  #estimation;
  #request;
  #start;
  #timer = 0;

  /**
   * @param {Context} context @param {AiField} ai
   * @param {{onChange: () => void, onMade: (run: TableRunData) => void}} callbacks
   */
  constructor(context, ai, { onChange, onMade }) {
    this.#context = context;
    this.#ai = ai;
    this.#onChange = onChange;
    this.#onMade = onMade;
    this.#estimation = new Estimation(onChange);
    this.#request = new RequestState(onChange);
    this.#start = new StartForm(onChange);
    this.#prepare();
  }

  async #prepare() {
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

  #refresh() {
    const { api } = this.#context;
    return this.#estimation.read(() => api.estimate(this.#ai.id, this.#scope, this.#form.shares));
  }

  /** @param {object} options */
  #make(options) {
    const { max, shares } = this.#form;
    const given = { scope: this.#scope, share_equal: shares, max_cost: max.trim() || null };
    return this.#request.run(async () => {
      const { id, runs } = await this.#context.api.addRun(this.#ai.id, { ...given, ...options });
      this.#onMade(runs.find((run) => run.id === id) ?? runs[0]);
    });
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

  #begin() {
    const start = this.#start.read();
    if (!start) return;
    const also = this.#form.chains ? this.#sources.map(({ id }) => id) : [];
    this.#make({ ...start, also });
  }

  template() {
    const { found, refusal, isUnderWay } = this.#estimation;
    const { isBusy, error } = this.#request;
    const isReady = found !== null && !isBusy;
    // What the answers to come will ask about cannot be estimated, but asked.
    const mayStart = isReady ||
      (this.#form.chains && this.#sources.length > 0 && !isBusy && !isUnderWay);
    return html`
      <h3 dir="auto">${this.#ai.name}</h3>
      ${this.#scopeFields()}
      <section aria-busy=${String(isUnderWay)} aria-label=${t("runs.estimate")}>
        ${notice(refusal)} ${found ? this.#estimateTemplate(found) : nothing}
      </section>
      ${inputField({
        id: idOf(this.#form, "max"),
        label: this.#maxLabel,
        value: this.#form.max,
        mode: "decimal",
        help: t("runs.max_cost_help"),
        onChange: (max) => (this.#form.max = max),
      })}
      ${this.#start.template(found)}
      <div class="notices">${notice(error)}</div>
      <div class="run-actions">
        <button type="button" class="button primary" ?disabled=${!isReady}
          @click=${() => this.#make({ try: TRY_ROWS })}>
          ${icon("send")}${t("runs.try", { count: this.#rowsToTry })}
        </button>
        <button type="button" class="button" ?disabled=${!mayStart} @click=${() => this.#begin()}>
          ${icon("play")}${t("tables.run_all")}
        </button>
      </div>
    `;
  }

  get #rowsToTry() {
    return Math.max(1, Math.min(TRY_ROWS, this.#estimation.found?.rows ?? TRY_ROWS));
  }

  get #maxLabel() {
    const currency = this.#estimation.found?.currency;
    return currency ? t("runs.max_cost_in", { currency }) : t("runs.max_cost");
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
