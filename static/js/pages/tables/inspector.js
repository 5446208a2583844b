/** One answer of an AI field: where it comes from, what is thought of it, what it was before. */

import { detailOf } from "../../client/tasks.js";
import { formatDateTime, formatMoney, isKey, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { detailTemplate, explain, notice } from "../../ui/notice.js";
import { RequestState } from "../../ui/request_state.js";
import { staleText, stateText } from "./cells.js";
import { idOf, inputField } from "./forms.js";
import { shownText } from "./values.js";

/**
 * @import { Context } from "./panel.js"
 * @import { CellData, CellVersion, Field, Provenance, Review, Row, Value } from "./types.d.ts"
 */

export class Inspector {
  #context;
  #row;
  #field;
  #show;
  /** @type {CellData|null} */
  #cell = null;
  #note = "";
  #request;
  #left = new AbortController();

  /** @param {Context} context @param {Row} row @param {Field} field @param {() => void} show */
  constructor(context, row, field, show) {
    this.#context = context;
    this.#row = row;
    this.#field = field;
    this.#show = show;
    this.#request = new RequestState(show);
    const { signal } = this.#left;
    context.session.addEventListener("elsewhere", (event) => {
      const rows = detailOf(event);
      if (rows === null || rows.includes(row.id)) this.#load();
    }, { signal });
    this.#load();
  }

  get heading() {
    return t("tables.cell_of", { field: this.#field.name, row: this.#row.id });
  }

  /** A note was written that is not stored. */
  get hasDraft() {
    return this.#note !== (this.#cell?.review?.note ?? "");
  }

  get #aiField() {
    return this.#field.ai_field ?? 0;
  }

  async #load() {
    try {
      this.#take(await this.#context.api.cell(this.#aiField, this.#row.id));
    } catch (error) {
      this.#request.error = error;
      this.#show();
    }
  }

  /** @param {CellData} cell */
  #take(cell) {
    this.#cell = cell;
    this.#note = cell.review?.note ?? "";
    if (!this.#left.signal.aborted) this.#show();
  }

  /** @param {Partial<Review>} changes */
  #review(changes) {
    const { thumb = null, verdict = null } = this.#cell?.review ?? {};
    const review = { thumb, verdict, note: this.#note, ...changes };
    return this.#request.run(async () => {
      this.#take(await this.#context.api.review(this.#aiField, this.#row.id, review));
    });
  }

  #askAgain() {
    const { api, say } = this.#context;
    const scope = { rows: [this.#row.id], which: "all", overwrite_edited: true };
    return this.#request.run(async () => {
      await api.addRun(this.#aiField, { scope, start: "now" });
      say(t("tables.asked_again"));
      await this.#load();
    });
  }

  // --- Showing ------------------------------------------------------------------------------------
  template() {
    const cell = this.#cell;
    return html`
      <div class="notices">${notice(this.#request.error)}</div>
      ${cell ? this.#cellTemplate(cell) : nothing}
    `;
  }

  /** @param {CellData} cell */
  #cellTemplate(cell) {
    const { may } = this.#context.session;
    return html`
      <p class="run-facts">
        <span class="badge cell-badge ${cell.state}">${stateText(cell.state)}</span>
        ${cell.state === "stale" ? html`<span>${staleText(cell.why)}</span>` : nothing}
      </p>
      ${cell.error ? this.#failure(cell.error) : nothing}
      ${this.#values(cell.values)}
      ${may.review && cell.provenance ? this.#reviewTemplate(cell) : nothing}
      ${may.run
        ? html`
          <button type="button" class="button small" ?disabled=${this.#request.isBusy}
            @click=${() => this.#askAgain()}>${icon("retry")}${t("tables.ask_again")}</button>
        `
        : nothing}
      ${cell.inputs ? this.#inputs(cell.inputs) : nothing}
      ${cell.provenance ? this.#provenance(cell.provenance) : nothing}
      ${this.#timeLine(cell)}
    `;
  }

  /** @param {NonNullable<CellData["error"]>} error */
  #failure(error) {
    return html`
      <p class="form-error">
        <strong>${explain(error).title}</strong> ${detailTemplate(error, "")}
      </p>
      ${error.task ? html`<dl class="facts">${fact(t("tables.task"), error.task)}</dl>` : nothing}
    `;
  }

  /** @param {Record<string, Value>} values */
  #values(values) {
    return html`
      <dl class="row-values">
        ${Object.entries(values).map(([key, value]) => {
          const field = this.#fieldOf(key);
          return html`
            <dt dir="auto">${field?.name ?? key}</dt>
            <dd dir="auto">${field ? shownText(field, value) : String(value)}</dd>
          `;
        })}
      </dl>
    `;
  }

  /** @param {string} key */
  #fieldOf(key) {
    return this.#context.session.data.fields.find((field) => field.key === key);
  }

  /** @param {CellData} cell */
  #reviewTemplate({ review }) {
    /** @param {"up"|"down"} thumb @param {"good"|"bad"} mark */
    const thumbButton = (thumb, mark) => {
      const isChosen = review?.thumb === thumb;
      return html`
        <button type="button" class="icon-button" aria-pressed=${String(isChosen)}
          aria-label=${t(`tables.thumb.${mark}`)} title=${t(`tables.thumb.${mark}`)}
          @click=${() => this.#review({ thumb: isChosen ? null : thumb })}>${icon(mark)}</button>
      `;
    };
    /** @param {"accepted"|"rejected"} verdict */
    const verdictButton = (verdict) => {
      const isChosen = review?.verdict === verdict;
      return html`
        <button type="button" class="button small" aria-pressed=${String(isChosen)}
          @click=${() => this.#review({ verdict: isChosen ? null : verdict })}>
          ${t(`tables.verdict.${verdict}`)}
        </button>
      `;
    };
    return html`
      <fieldset class="plain review" ?disabled=${this.#request.isBusy}>
        <legend class="visually-hidden">${t("tables.review")}</legend>
        <div class="problem-actions">
          ${thumbButton("up", "good")} ${thumbButton("down", "bad")} ${verdictButton("accepted")}
          ${verdictButton("rejected")}
        </div>
        ${inputField({
          id: idOf(this, "note"),
          label: t("tables.note"),
          value: this.#note,
          onChange: (note) => {
            this.#note = note;
            this.#show();
          },
        })}
        ${this.hasDraft
          ? html`
            <button type="button" class="button small" @click=${() => this.#review({})}>
              ${t("tables.save")}
            </button>
          `
          : nothing}
        ${review?.by
          ? html`<p class="muted">${
            t("tables.reviewed_by", { name: review.by, time: formatDateTime(review.at) })
          }</p>`
          : nothing}
      </fieldset>
    `;
  }

  /** @param {Record<string, Value>} inputs */
  #inputs(inputs) {
    return html`<h3>${t("tables.inputs")}</h3>${this.#values(inputs)}`;
  }

  /** @param {Provenance} origin */
  #provenance(origin) {
    const { prompt_tokens, completion_tokens, cost, currency } = origin;
    const { app } = this.#context;
    const facts = [
      fact(t("composer.model"), origin.model ?? ""),
      fact(t("runs.scene"), app.store.scene(origin.scene)?.title || origin.scene),
      fact(t("tables.scene_version"), String(origin.version ?? "")),
      fact(
        t("runs.tokens"),
        t("runs.tokens_of", { prompt: prompt_tokens, completion: completion_tokens }),
      ),
      fact(t("runs.figure.cost"), formatMoney(cost, currency ?? "")),
      fact(t("tables.served_from"), servedText(origin.served_from)),
      fact(t("tables.attempts"), String(origin.attempts ?? "")),
      fact(t("tables.started_by"), origin.started_by ?? ""),
      fact(t("tables.task"), origin.task),
    ];
    return html`
      <h3>${t("tables.provenance")}</h3>
      <dl class="facts">${facts}</dl>
    `;
  }

  /** @param {CellData} cell what happened to it, the newest first */
  #timeLine({ provenance, edited, history }) {
    const now = [
      edited ? entry(edited.at, t("tables.edited_by", { name: edited.by ?? "" })) : nothing,
      provenance?.at
        ? entry(provenance.at, t("tables.answered_by", { model: provenance.model ?? "" }))
        : nothing,
    ];
    if (now.every((part) => part === nothing) && history.length === 0) return nothing;
    return html`
      <h3>${t("tables.time_line")}</h3>
      <ol class="time-line">${now}${history.map((version) => this.#version(version))}</ol>
    `;
  }

  /** @param {CellVersion} version */
  #version({ reason, at, by, values, provenance }) {
    const key = `tables.version.${reason}`;
    const why = isKey(key) ? t(key, { name: by ?? "" }) : reason;
    const texts = Object.entries(values).map(([name, value]) => {
      const field = this.#fieldOf(name);
      return field ? shownText(field, value) : "";
    });
    return html`
      <li>
        <time datetime=${at}>${formatDateTime(at)}</time>
        <span>${why}${provenance?.model
          ? html`
            <span class="muted">${provenance.model}</span>
          `
          : nothing}</span>
        <p dir="auto">${texts.filter(Boolean).join(" · ")}</p>
      </li>
    `;
  }

  dispose() {
    this.#left.abort();
  }
}

/** @param {string} label @param {string} value */
function fact(label, value) {
  return value === "" ? nothing : html`
    <div>
      <dt>${label}</dt>
      <dd>${value}</dd>
    </div>
  `;
}

/** @param {string} at @param {string} text */
function entry(at, text) {
  return html`<li><time datetime=${at}>${formatDateTime(at)}</time><span>${text}</span></li>`;
}

/** @param {string|null} source @returns {string} */
function servedText(source) {
  const key = `tables.served.${source}`;
  return source && isKey(key) ? t(key) : source ?? "";
}
