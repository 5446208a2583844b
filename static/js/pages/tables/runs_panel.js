/** The AI fields of a table: how their cells stand, a new run, and the runs so far. */

import { formatDateTime, t } from "../../i18n/i18n.js";
import { html, nothing, repeat } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { barTemplate, countsText, stateBadge } from "../runs/progress.js";
import { stateText } from "./cells.js";
import { CompareSheet } from "./compare_sheet.js";
import { policyNote } from "./policy_note.js";
import { RunForm } from "./run_form.js";
import { RunView } from "./run_view.js";

/**
 * @import { Context } from "./panel.js"
 * @import { AiField, Field, TableRunData } from "./types.d.ts"
 */

const MAX_RUNS = 20;

export class RunsPanel {
  heading = t("tables.ai");
  #context;
  #show;
  #onEdit;
  /** @type {TableRunData[]} */
  #runs = [];
  /** @type {Map<number, Record<string, number>>} by AI field */
  #states = new Map();
  /** @type {RunForm|null} a run that is not made yet */
  #form = null;
  /** @type {RunView|null} the run that is looked at */
  #view = null;
  /** @type {any} */
  #error = null;
  #isDisposed = false;

  /** @param {Context} context @param {() => void} show @param {(field: Field|undefined) => void} onEdit */
  constructor(context, show, onEdit) {
    this.#context = context;
    this.#show = () => {
      if (!this.#isDisposed) show();
    };
    this.#onEdit = onEdit;
    this.#load();
  }

  async #load() {
    const { api, session } = this.#context;
    try {
      this.#runs = (await api.runs(session.data.id)).slice(0, MAX_RUNS);
      for (const { id } of session.aiFields) {
        api.cellStates(id).then(({ counts }) => {
          this.#states.set(id, counts);
          this.#show();
        }, () => {});
      }
      const newest = this.#runs.find(({ state }) => state === "running" || state === "paused");
      if (newest && !this.#view && !this.#form) this.#look(newest);
    } catch (error) {
      this.#error = error;
    }
    this.#show();
  }

  /** @param {TableRunData} run */
  #look(run) {
    this.#view?.dispose();
    this.#form = null;
    this.#context.showAnswers(run.ai_field);
    this.#view = new RunView(this.#context, run, {
      onChange: this.#show,
      onEnd: () => this.#load(),
    });
    this.#show();
  }

  /** @param {AiField} ai */
  #open(ai) {
    this.#view?.dispose();
    this.#view = null;
    this.#context.showAnswers(ai.id);
    this.#form = new RunForm(this.#context, ai, {
      onChange: this.#show,
      onMade: (run) => {
        this.#look(run);
        this.#load();
      },
    });
    this.#show();
  }

  #close() {
    this.#view?.dispose();
    this.#view = null;
    this.#form = null;
    this.#load();
  }

  template() {
    if (this.#form || this.#view) {
      return html`
        <button type="button" class="text-button back" @click=${() => this.#close()}>
          ${icon("left")}${t("tables.all_runs")}
        </button>
        ${this.#form?.template() ?? this.#view?.template()}
      `;
    }
    const { aiFields, may } = this.#context.session;
    return html`
      ${aiFields.length ? nothing : html`<p class="muted">${t("tables.ai_none")}</p>`}
      <ul class="ai-list">${repeat(aiFields, ({ id }) => id, (ai) => this.#field(ai))}</ul>
      ${may.edit
        ? html`
          <button type="button" class="button small" @click=${() => this.#onEdit(undefined)}>
            ${icon("plus")}${t("tables.ai_new")}
          </button>
        `
        : nothing}
      <div class="notices">${notice(this.#error)}</div>
      ${this.#runs.length
        ? html`
          <h3>${t("runs.title")}</h3>
          <ul class="ai-list">${repeat(this.#runs, ({ id }) => id, (run) => this.#run(run))}</ul>
        `
        : nothing}
    `;
  }

  /** @param {AiField} ai */
  #field(ai) {
    const { data, may } = this.#context.session;
    const field = data.fields.find(({ ai_field }) => ai_field === ai.id);
    const counts = Object.entries(this.#states.get(ai.id) ?? {});
    return html`
      <li class="ai-item">
        <strong dir="auto">${ai.name}</strong>
        <span class="muted" dir="auto">${this.#context.app.store.scene(ai.scene)?.title ||
          ai.scene}</span>
        <p class="ai-counts">
          ${counts.map(([state, count]) =>
            html`<span class="ai-count ${state}">${
              t("tables.state_count", {
                state: stateText(state),
                count,
              })
            }</span>`
          )}
        </p>
        ${policyNote(ai)}
        <div class="problem-actions">
          ${may.run
            ? html`
              <button type="button" class="button small primary" @click=${() => this.#open(ai)}>
                ${icon("play")}${t("tables.run_cells")}
              </button>
              <button type="button" class="button small"
                @click=${() => new CompareSheet(this.#context, ai)}>
                ${icon("group")}${t("tables.compare")}
              </button>
            `
            : nothing}
          <button type="button" class="button small" @click=${() => this.#onEdit(field)}>
            ${icon("pencil")}${t("tables.ai_open")}
          </button>
        </div>
      </li>
    `;
  }

  /** @param {TableRunData} run */
  #run(run) {
    return html`
      <li class="ai-item">
        <button type="button" class="ai-run" @click=${() => this.#look(run)}>
          <span dir="auto">${run.name}</span> ${stateBadge(run)}
          <span class="muted">${countsText(run)} · ${formatDateTime(run.created_at)}</span>
          ${run.state === "running" || run.state === "paused" ? barTemplate(run) : nothing}
        </button>
      </li>
    `;
  }

  dispose() {
    this.#isDisposed = true;
    this.#view?.dispose();
  }
}
