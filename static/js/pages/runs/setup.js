/** What is asked of a run before its start: columns, settings, a try, the estimate, the time. All of
 * it is stored as it is changed, so that a reload, or another tab, goes on with it. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { detail, notice } from "../../ui/notice.js";
import { RequestState } from "../../ui/request_state.js";
import { estimateTemplate } from "./estimate.js";
import { Estimation } from "./estimation.js";
import { MappingForm } from "./mapping.js";
import { cellsOf, MESSAGE, rowsTable, RowTexts } from "./row.js";
import { errorsOf, fieldsOf, INPUT_OF, settingsTemplate, valuesOf } from "./settings.js";
import { StartForm } from "./start_form.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { Run } from "../../client/runs.js"
 * @import { Estimate, RunRow } from "../../client/types.d.ts"
 */

const PREVIEW_ROWS = 5;
const MAX_PREVIEW_COLUMNS = 12;
const TRY_ROWS = 10;
/** States of rows that were tried. */
const TRIED = ["succeeded", "failed", "open"];
const MAX_TRIED_SHOWN = 20;

export class Setup {
  #app;
  #run;
  #onChange;
  #onStart;
  #texts;
  #scene;
  #mapping;
  #values;
  /** @type {RunRow[]} */
  #preview = [];
  /** @type {RunRow[]} */
  #tried = [];
  /** @type {Estimation<Estimate>} */
  #estimation;
  #request;
  #start;
  /** @type {Record<string, string>} by input */
  #errors = {};
  /** Changes are stored one after the other. */
  #saving = Promise.resolve();
  /** A change is stored when the rows that are being tried have ended. */
  #isWaiting = false;

  /** @param {App} app @param {Run} run
   * @param {{onChange: () => void, onStart: () => void}} callbacks */
  constructor(app, run, { onChange, onStart }) {
    this.#app = app;
    this.#run = run;
    this.#onChange = onChange;
    this.#onStart = onStart;
    this.#estimation = new Estimation(onChange);
    this.#request = new RequestState(onChange);
    this.#start = new StartForm(onChange);
    this.#texts = new RowTexts(app, onChange);
    this.#scene = run.data.scene;
    this.#values = valuesOf(run.data);
    this.#mapping = this.#newMapping(run.data.mapping ?? {});
  }

  /** @returns {string} the model that rows will be called with; empty: not known yet */
  get model() {
    return this.#estimation.found?.model ?? "";
  }

  get #isOfRequests() {
    return this.#run.data.rows === "requests";
  }

  get #isIncomplete() {
    return !this.#isOfRequests && (this.#scene === "" || this.#mapping.isIncomplete);
  }

  async load() {
    await Promise.all([this.#loadPreview(), this.#loadTried()]);
    this.#onChange();
    await this.#refreshEstimate();
  }

  /** Rows that can be run; once all of them have been tried, any. */
  async #loadPreview() {
    const limit = PREVIEW_ROWS;
    const { items } = await this.#run.rows({ state: "pending", limit });
    this.#preview = items.length ? items : (await this.#run.rows({ state: "", limit })).items;
  }

  /** Tried rows have begun or ended. */
  async refresh() {
    await this.#loadTried();
    this.#onChange();
    if (this.#tried.some(({ state }) => state === "open")) return;
    if (this.#isWaiting) this.#save();
    else await this.#refreshEstimate();
  }

  async #loadTried() {
    const limit = MAX_TRIED_SHOWN;
    const pages = await Promise.all(TRIED.map((state) => this.#run.rows({ state, limit })));
    this.#tried = pages.flatMap(({ items }) => items).sort((a, b) => a.number - b.number);
  }

  /** @param {import("../../client/types.d.ts").Mapping} mapping */
  #newMapping(mapping) {
    return new MappingForm(
      this.#app.store.scene(this.#scene),
      this.#run.data.columns ?? [],
      mapping,
    );
  }

  // --- Storing ------------------------------------------------------------------------------------
  #save() {
    this.#errors = errorsOf(this.#values);
    this.#request.error = null;
    this.#onChange();
    if (Object.keys(this.#errors).length > 0) return;
    this.#saving = this.#saving.then(() => this.#store());
  }

  async #store() {
    const mapped = this.#isOfRequests ? {} : { scene: this.#scene, mapping: this.#mapping.value };
    const fields = fieldsOf(this.#values, this.#run.data.options ?? {});
    this.#isWaiting = false;
    try {
      await this.#run.change({ ...mapped, ...fields });
    } catch (error) {
      this.#isWaiting = /** @type {any} */ (error).code === "rows_open";
      this.#refuse(error);
    }
    this.#onChange();
    if (this.#isWaiting) return;
    await Promise.all([this.#loadTried(), this.#refreshEstimate()]);
    this.#onChange();
  }

  /** Say it beside its input, if it has one. @param {any} error */
  #refuse(error) {
    const field = error.field ?? "";
    const input = field.startsWith("mapping.") ? field : INPUT_OF[field];
    if (input) this.#errors = { ...this.#errors, [input]: detail(error).text };
    else this.#request.error = error;
  }

  async #refreshEstimate() {
    if (this.#isIncomplete) return this.#estimation.clear();
    await this.#estimation.read(() => this.#run.estimate());
  }

  // --- Trying and starting ------------------------------------------------------------------------
  /** @param {() => Promise<unknown>} action */
  #act(action) {
    return this.#request.run(async () => {
      await this.#saving;
      await action().catch((error) => this.#refuse(error));
    });
  }

  async #try() {
    const { numbers } = await this.#run.try(TRY_ROWS);
    this.#app.announce(t("runs.trying", { count: numbers.length }));
    await this.#loadTried();
  }

  async #begin() {
    const given = this.#start.read();
    if (!given) return;
    try {
      await this.#run.start(given.start, given.start_at);
    } catch (error) {
      const refused = /** @type {any} */ (error);
      if (refused.field !== "start_at") throw error;
      return this.#start.refuse(detail(refused).text);
    }
    this.#onStart();
  }

  // --- Showing ------------------------------------------------------------------------------------
  template() {
    return html`
      ${this.#previewPart()}
      <div class="run-setup">
        <div class="run-setup-part">
          ${this.#isOfRequests ? nothing : this.#scenePart()}
          <section class="run-part" aria-labelledby="settings-heading">
            <h2 id="settings-heading">${t("runs.settings")}</h2>
            ${settingsTemplate({
              values: this.#values,
              errors: this.#errors,
              models: this.#app.models.map(({ name }) => name),
              currency: this.#estimation.found?.currency ?? "",
              onChange: (name, value) => {
                this.#values = { ...this.#values, [name]: value };
                this.#save();
              },
            })}
          </section>
        </div>
        ${this.#startPart()}
      </div>
      ${this.#triedPart()}
    `;
  }

  #previewPart() {
    const rows = this.#preview;
    const columns = this.#run.data.columns?.length
      ? this.#run.data.columns.slice(0, MAX_PREVIEW_COLUMNS)
      : [MESSAGE];
    /** @param {RunRow} row @returns {Map<string, string>} */
    const valuesOfRow = ({ payload }) => new Map(cellsOf(payload ?? {}));
    return html`
      <section class="run-part" aria-labelledby="preview-heading">
        <h2 id="preview-heading">${t("runs.preview")}</h2>
        <div class="preview" role="region" tabindex="0" aria-labelledby="preview-heading">
          <table>
            <thead>
              <tr>${columns.map((column) =>
                html`<th scope="col" dir="auto">${
                  column === MESSAGE ? t("runs.message") : column
                }</th>`
              )}</tr>
            </thead>
            <tbody>
              ${rows.map(valuesOfRow).map((values) =>
                html`<tr>${
                  columns.map((column) =>
                    html`<td dir="auto"><span>${values.get(column) ?? ""}</span></td>`
                  )
                }</tr>`
              )}
            </tbody>
          </table>
        </div>
      </section>
    `;
  }

  #scenePart() {
    const change = (/** @type {any} */ { target }) => {
      this.#scene = target.value;
      this.#mapping = this.#newMapping({});
      this.#save();
    };
    return html`
      <section class="run-part" aria-labelledby="scene-heading">
        <h2 id="scene-heading">${t("runs.scene_heading")}</h2>
        <div class="field">
          <label for="run-scene">${t("runs.scene")}</label>
          <select id="run-scene" @change=${change} aria-required="true">
            <option value="" .selected=${this.#scene === ""}>${t("form.choose")}</option>
            ${this.#app.store.scenes.map(({ slug, title }) =>
              html`<option value=${slug} .selected=${slug === this.#scene}>${
                title || slug
              }</option>`
            )}
          </select>
        </div>
        ${this.#scene
          ? this.#mapping.template(this.#preview[0], this.#errors, () => this.#save())
          : nothing}
      </section>
    `;
  }

  #startPart() {
    const { found, refusal, isUnderWay } = this.#estimation;
    const isReady = !this.#isIncomplete && !refusal;
    const { isBusy, error } = this.#request;
    return html`
      <section class="run-part run-start" aria-labelledby="start-heading"
        aria-busy=${String(isUnderWay)}>
        <h2 id="start-heading">${t("runs.estimate")}</h2>
        ${this.#isIncomplete
          ? html`<p class="muted">${t(this.#scene ? "runs.unmapped" : "runs.choose_scene")}</p>`
          : nothing}
        ${notice(refusal)}
        ${found ? estimateTemplate(found) : nothing}
        ${this.#start.template(found)}
        <div class="notices">${notice(error)}</div>
        <div class="run-actions">
          <button type="button" class="button primary" ?disabled=${!isReady || isBusy}
            @click=${() => this.#act(() => this.#begin())}>
            ${icon("play")}<span>${t("runs.start")}</span>
          </button>
          <button type="button" class="button" ?disabled=${!isReady || isBusy}
            @click=${() => this.#act(() => this.#try())}>
            ${icon("send")}<span>${t("runs.try", { count: this.#rowsToTry })}</span>
          </button>
        </div>
      </section>
    `;
  }

  get #rowsToTry() {
    return Math.min(TRY_ROWS, Math.max(this.#run.data.counts.pending, 1));
  }

  #triedPart() {
    if (this.#tried.length === 0) return nothing;
    return html`
      <section class="run-part" aria-labelledby="tried-heading">
        <h2 id="tried-heading">${t("runs.tried")}</h2>
        <p class="muted">${t("runs.tried_help")}</p>
        ${rowsTable(this.#tried, this.#run.data.columns, this.#texts)}
      </section>
    `;
  }
}
