/** What holds for all rows of a run: model, length of answers, limits. */

import { fromInput, toInput } from "../../forms/moments.js";
import { t } from "../../i18n/i18n.js";
import { html } from "../../lit.js";

/**
 * @import { RunData } from "../../client/types.d.ts"
 *
 * @typedef {"model"|"maxTokens"|"maxCost"|"deadline"|"lane"} Name
 * @typedef {Record<Name, string>} Values as they are in the inputs
 */

const LANES = /** @type {const} */ (["interactive", "normal", "batch"]);
/** Which input a refused field of the server's is. */
export const INPUT_OF = /** @type {Record<string, Name>} */ ({
  "options.model": "model",
  "options.max_tokens": "maxTokens",
  max_cost: "maxCost",
  deadline_at: "deadline",
  lane: "lane",
});

/** @param {RunData} run @returns {Values} */
export function valuesOf({ options = {}, max_cost, deadline_at, lane }) {
  return {
    model: String(options.model ?? ""),
    maxTokens: String(options.max_tokens ?? ""),
    maxCost: max_cost === null ? "" : String(Number(max_cost)),
    deadline: deadline_at === null ? "" : toInput("date-time", deadline_at),
    lane,
  };
}

/** @param {Values} values @returns {Partial<Record<Name, string>>} what is wrong, by input */
export function errorsOf({ maxTokens, maxCost }) {
  /** @type {Partial<Record<Name, string>>} */
  const errors = {};
  if (maxTokens && !/^[1-9]\d*$/.test(maxTokens.trim())) errors.maxTokens = t("form.not_integer");
  if (maxCost && !/^\d+(?:\.\d+)?$/.test(maxCost.trim())) errors.maxCost = t("form.not_number");
  return errors;
}

/** @param {Values} values @param {Record<string, any>} options that the run has @returns {object} */
export function fieldsOf({ model, maxTokens, maxCost, deadline, lane }, options) {
  const { model: _model, max_tokens: _tokens, ...others } = options;
  return {
    options: {
      ...others,
      ...(model && { model }),
      ...(maxTokens && { max_tokens: Number(maxTokens) }),
    },
    max_cost: maxCost.trim() || null,
    deadline_at: deadline ? fromInput("date-time", deadline) : null,
    lane,
  };
}

/**
 * @param {object} form
 * @param {Values} form.values @param {Record<string, string>} form.errors
 * @param {string[]} form.models @param {string} form.currency
 * @param {(name: Name, value: string) => void} form.onChange
 */
export function settingsTemplate({ values, errors, models, currency, onChange }) {
  /** @param {Name} name @param {string} label @param {unknown} input @param {string} help */
  const field = (name, label, input, help = "") =>
    html`
      <div class="field">
        <label for="run-${name}">${label}</label>
        ${input}
        <p class="field-help" id="run-${name}-help">${help}</p>
        <p class="field-error" id="run-${name}-error">${errors[name] ?? ""}</p>
      </div>
    `;
  /** @param {Name} name @param {string} type @param {"numeric"|"decimal"|"text"} mode */
  const input = (name, type, mode) =>
    html`
      <input id="run-${name}" type=${type} inputmode=${mode} .value=${values[name]}
        aria-invalid=${String(Boolean(errors[name]))}
        aria-describedby="run-${name}-help run-${name}-error"
        @change=${(/** @type {any} */ { target }) => onChange(name, target.value)}>
    `;
  /** @param {Name} name @param {[string, string][]} choices */
  const select = (name, choices) =>
    html`
      <select id="run-${name}" aria-describedby="run-${name}-help run-${name}-error"
        @change=${(/** @type {any} */ { target }) => onChange(name, target.value)}>
        ${choices.map(([value, label]) =>
          html`<option value=${value} .selected=${value === values[name]}>${label}</option>`
        )}
      </select>
    `;
  const lanes = LANES.map((
    lane,
  ) => /** @type {[string, string]} */ ([lane, t(`runs.lane.${lane}`)]));
  /** @type {[string, string][]} */
  const offered = [
    ["", t("runs.usual_model")],
    ...models.map((name) => /** @type {[string, string]} */ ([name, name])),
  ];
  return html`
    <div class="run-settings">
      ${field("model", t("composer.model"), select("model", offered))}
      ${field("maxTokens", t("runs.max_tokens"), input("maxTokens", "text", "numeric"))}
      ${field(
        "maxCost",
        currency ? t("runs.max_cost_in", { currency }) : t("runs.max_cost"),
        input("maxCost", "text", "decimal"),
        t("runs.max_cost_help"),
      )}
      ${field(
        "deadline",
        t("runs.deadline"),
        input("deadline", "datetime-local", "text"),
        t("runs.deadline_help"),
      )}
      ${field("lane", t("runs.lane_label"), select("lane", lanes), t("runs.lane_help"))}
    </div>
  `;
}
