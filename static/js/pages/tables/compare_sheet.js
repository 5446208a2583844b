/** Two configurations of an AI field side by side: asked about the same rows, blind on wish. */

import { isEnded } from "../../client/runs.js";
import { formatDateTime, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { RequestState } from "../../ui/request_state.js";
import { comparedTemplate } from "./compared_rows.js";
import { checkField, idOf, inputField, selectField } from "./forms.js";
import { Sheet } from "./sheet.js";

/**
 * @import { Context } from "./panel.js"
 * @import { AiField, Comparison, ComparisonItem, Field, SideName } from "./types.d.ts"
 * @typedef {{model: string, version: string, tokens: string}} SideForm what is otherwise; "": as it is
 */

const POLL_MS = 1_000;
const MAX_ROWS = 200;
/** Comparisons of before that are listed. */
const MAX_EARLIER = 10;
/** Kinds of fields that have no text to compare an answer with. */
const NO_TRUTH = ["json", "link"];
/** @type {SideName[]} */
const SIDES = ["a", "b"];
/** The last comparison of an AI field in this tab: a sheet that is closed loses nothing.
 * @type {Map<number, Comparison>} */
const latest = new Map();
/** Ids of comparisons that were blind in this tab: their sides keep the places at which they were judged.
 * @type {Set<number>} */
const judgedBlindly = new Set();

export class CompareSheet {
  #context;
  #ai;
  #sheet;
  /** @type {Comparison|null} null: it is still set up */
  #comparison;
  #form = { rows: "20", isBlind: true, a: emptySide(), b: emptySide() };
  /** Fields with the right answers, by the key of the output. @type {Record<string, string>} */
  #truth = {};
  /** Those made before, the newest first. @type {ComparisonItem[]} */
  #earlier = [];
  /** Which side is better, by row. @type {Map<number, SideName>} */
  #better = new Map();
  /** What of the form is wrong, by name. @type {Record<string, string>} */
  #errors = {};
  #request = new RequestState(() => this.#sheet.show());
  #isClosed = false;
  #timer = 0;

  /** @param {Context} context @param {AiField} ai */
  constructor(context, ai) {
    this.#context = context;
    this.#ai = ai;
    this.#comparison = latest.get(ai.id) ?? null;
    this.#sheet = new Sheet({
      heading: t("tables.compare_heading", { name: ai.name }),
      isWide: true,
      request: this.#request,
      content: () => this.#comparison ? this.#result(this.#comparison) : this.#formTemplate(),
    });
    this.#sheet.closed.then(() => {
      this.#isClosed = true;
      clearTimeout(this.#timer);
    });
    this.#followUp();
    this.#readEarlier();
  }

  async #readEarlier() {
    const found = await this.#context.api.comparisons(this.#ai.id).catch(() => []);
    this.#earlier = found.slice(0, MAX_EARLIER);
    this.#sheet.show();
  }

  // --- Calls --------------------------------------------------------------------------------------
  #start() {
    const { rows, isBlind, a, b } = this.#form;
    const { filter } = this.#context.session.view.state;
    this.#errors = this.#check();
    if (Object.keys(this.#errors).length) return this.#sheet.show();
    return this.#act(() =>
      this.#context.api.compare(this.#ai.id, {
        a: this.#given(a),
        b: this.#given(b),
        rows: Number(rows),
        blind: isBlind,
        ...(Object.keys(this.#truth).length ? { truth: this.#truth } : {}),
        scope: filter ? { filter } : {},
      })
    );
  }

  /** @returns {Record<string, string>} */
  #check() {
    const { rows, ...sides } = this.#form;
    /** @type {Record<string, string>} */
    const errors = {};
    if (!isCount(rows, MAX_ROWS)) errors.rows = t("tables.count_of", { count: MAX_ROWS });
    for (const name of SIDES) {
      for (const part of /** @type {const} */ (["version", "tokens"])) {
        const text = sides[name][part].trim();
        if (text && !isCount(text)) errors[`${name}.${part}`] = t("form.not_integer");
      }
    }
    return errors;
  }

  /** @param {SideForm} side */
  #given({ model, version, tokens }) {
    return {
      ...(model ? { model } : {}),
      ...(version.trim() ? { version: Number(version) } : {}),
      ...(tokens.trim() ? { options: { ...this.#ai.options, max_tokens: Number(tokens) } } : {}),
    };
  }

  #reveal() {
    return this.#act(() => this.#context.api.revealComparison(this.#comparison?.id ?? 0));
  }

  #startAnew() {
    clearTimeout(this.#timer);
    latest.delete(this.#ai.id);
    this.#comparison = null;
    this.#better.clear();
    this.#sheet.show();
    this.#readEarlier();
  }

  /** @param {() => Promise<Comparison>} action */
  #act(action) {
    return this.#request.run(async () => this.#take(await action()));
  }

  /** @param {Comparison} found */
  #take(found) {
    if (found.is_blind) judgedBlindly.add(found.id);
    const comparison = judgedBlindly.has(found.id) ? inBlindPlaces(found) : found;
    latest.set(this.#ai.id, comparison);
    this.#comparison = comparison;
    this.#followUp();
  }

  /** Answers come in until both sides have ended. */
  #followUp() {
    clearTimeout(this.#timer);
    if (this.#isClosed || !this.#comparison || hasEnded(this.#comparison)) return;
    const { id } = this.#comparison;
    this.#timer = setTimeout(async () => {
      const found = await this.#context.api.comparison(id).catch((error) => {
        this.#request.error = error;
        return null;
      });
      // Another one was begun meanwhile, or this one was revealed.
      if (id !== this.#comparison?.id || this.#request.isBusy) return this.#followUp();
      if (found) this.#request.error = null;
      if (found) this.#take(found);
      else this.#followUp();
      if (!this.#isClosed) this.#sheet.show();
    }, POLL_MS);
  }

  // --- Showing ------------------------------------------------------------------------------------
  #formTemplate() {
    const form = this.#form;
    return html`
      <p class="muted">${t("tables.compare_help")}</p>
      <div class="compare-sides">${SIDES.map((name) => this.#sideForm(name))}</div>
      ${inputField({
        id: idOf(form, "rows"),
        label: t("tables.scope_number"),
        value: form.rows,
        mode: "numeric",
        help: t("tables.compare_rows_help", { count: MAX_ROWS }),
        error: this.#errors.rows,
        onChange: (rows) => (form.rows = rows),
      })}
      ${this.#truthFields()} ${checkField({
        label: t("tables.compare_blind"),
        isOn: form.isBlind,
        onChange: (isBlind) => (form.isBlind = isBlind),
      })}
      <div class="run-actions">
        <button type="button" class="button primary" ?disabled=${this.#request.isBusy}
          @click=${() => this.#start()}>${icon("play")}<span>${t(
            "tables.compare_start",
          )}</span></button>
      </div>
      ${this.#earlier.length ? this.#earlierTemplate() : nothing}
    `;
  }

  /** Right answers, for who has them in a field. */
  #truthFields() {
    const { fields } = this.#context.session.data;
    const labelled = fields.filter(({ ai_field, kind }) =>
      ai_field === null && !NO_TRUTH.includes(kind)
    );
    if (labelled.length === 0) return nothing;
    const outputs = fields.filter(({ ai_field }) => ai_field === this.#ai.id);
    return outputs.map(({ key, name }) =>
      selectField({
        id: idOf(this, `truth-${key}`),
        label: t("tables.truth_of", { name }),
        value: this.#truth[key] ?? "",
        options: [["", t("tables.no_truth")], ...labelled.map(keyAndName)],
        onChange: (chosen) => {
          const { [key]: _, ...others } = this.#truth;
          this.#truth = chosen ? { ...others, [key]: chosen } : others;
        },
      })
    );
  }

  #earlierTemplate() {
    const open = (/** @type {number} */ id) => this.#act(() => this.#context.api.comparison(id));
    return html`
      <h3>${t("tables.compared_before")}</h3>
      <ul class="ai-list">
        ${this.#earlier.map(({ id, rows, is_blind, is_done, created_at }) =>
          html`
            <li class="ai-item">
              <button type="button" class="ai-run" ?disabled=${this.#request.isBusy}
                @click=${() => open(id)}>
                <span>${t("tables.rows", { count: rows })}</span>
                ${is_blind ? html`<span class="badge">${t("tables.blind")}</span>` : nothing}
                ${is_done ? nothing : html`<span class="badge">${t("tables.unfinished")}</span>`}
                <span class="muted">${formatDateTime(created_at)}</span>
              </button>
            </li>
          `
        )}
      </ul>
    `;
  }

  /** @param {SideName} name */
  #sideForm(name) {
    const side = this.#form[name];
    const { models } = this.#context.app;
    return html`
      <fieldset class="plain">
        <legend>${t(`tables.side_${name}`)}</legend>
        ${selectField({
          id: idOf(side, "model"),
          label: t("composer.model"),
          value: side.model,
          options: [
            ["", t("tables.as_in_field", { value: this.#ai.model || t("runs.usual_model") })],
            ...models.map((model) => /** @type {[string, string]} */ ([model.name, model.name])),
          ],
          onChange: (model) => (side.model = model),
        })}
        ${inputField({
          id: idOf(side, "version"),
          label: t("tables.scene_version"),
          value: side.version,
          mode: "numeric",
          help: t("tables.empty_as_in_field"),
          error: this.#errors[`${name}.version`],
          onChange: (version) => (side.version = version),
        })}
        ${inputField({
          id: idOf(side, "tokens"),
          label: t("tables.max_tokens"),
          value: side.tokens,
          mode: "numeric",
          help: t("tables.empty_as_in_field"),
          error: this.#errors[`${name}.tokens`],
          onChange: (tokens) => (side.tokens = tokens),
        })}
      </fieldset>
    `;
  }

  /** @param {Comparison} comparison */
  #result(comparison) {
    const isOver = hasEnded(comparison);
    const { rows, succeeded, failed } = comparison.sides.a;
    const other = comparison.sides.b;
    const done = succeeded + failed + other.succeeded + other.failed;
    return html`
      <p role="status">${isOver
        ? t("tables.compare_done", { count: rows })
        : t("tables.compare_progress", { done, count: rows + other.rows })}</p>
      <div class="run-actions">
        ${comparison.is_blind
          ? html`
            <button type="button" class="button small primary" ?disabled=${this.#request.isBusy}
              @click=${() => this.#reveal()}>${icon("eye")}<span>${t(
                "tables.reveal",
              )}</span></button>
          `
          : nothing}
        <button type="button" class="button small" @click=${() => this.#startAnew()}>
          ${icon("retry")}<span>${t("tables.compare_anew")}</span>
        </button>
      </div>
      ${comparedTemplate(comparison, {
        fields: this.#context.session.data.fields,
        better: this.#better,
        onBetter: (row, side) => this.#choose(row, side),
      })}
    `;
  }

  /** @param {number} row @param {SideName} side the same again: neither */
  #choose(row, side) {
    if (this.#better.get(row) === side) this.#better.delete(row);
    else this.#better.set(row, side);
    this.#sheet.show();
  }
}

/** @param {Comparison} comparison @returns {Comparison} */
function inBlindPlaces(comparison) {
  const { sides, rows } = comparison;
  if (sides.a.blind_as !== "b") return comparison;
  return {
    ...comparison,
    sides: { a: sides.b, b: sides.a },
    rows: rows.map((row) => ({ ...row, a: row.b, b: row.a })),
  };
}

/** @param {Field} field @returns {[string, string]} */
function keyAndName({ key, name }) {
  return [key, name];
}

/** @returns {SideForm} */
function emptySide() {
  return { model: "", version: "", tokens: "" };
}

/** @param {Comparison} comparison */
function hasEnded({ sides }) {
  return SIDES.every((name) =>
    isEnded(/** @type {import("../../client/types.d.ts").RunState} */ (sides[name].state))
  );
}

/** @param {string} text @param {number} [limit] @returns {boolean} a whole number from 1 on */
function isCount(text, limit = 2 ** 31 - 1) {
  const number = Number(text.trim() || NaN);
  return Number.isInteger(number) && number >= 1 && number <= limit;
}
