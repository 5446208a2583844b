/** The editor of an AI field: which scene is asked, about what, when, and where answers go. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { confirmAction } from "../../shell/dialogs.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { RequestState } from "../../ui/request_state.js";
import { MappingForm } from "../runs/mapping.js";
import { FilterBuilder } from "./filter.js";
import { asGroup, completeFilter } from "./filter_tree.js";
import { kindName } from "./fields_menu.js";
import { idOf, inputField, selectField } from "./forms.js";
import { policyNote } from "./policy_note.js";

/**
 * @import { Context } from "./panel.js"
 * @import { AiField, Field, Group, Kind } from "./types.d.ts"
 */

const POLICIES = /** @type {const} */ (["by_hand", "empty", "fresh"]);
/** Kinds of the field that takes a whole answer. @type {Kind[]} */
const OUTPUT_KINDS = [
  "long_text",
  "text",
  "select",
  "number",
  "integer",
  "boolean",
  "date",
  "json",
];
/** The fields of a scene's output schema, or one long text. */
const BY_SCENE = "";

export class AiPanel {
  #context;
  /** @type {AiField|null} null: a new one */
  #ai;
  #show;
  #onRun;
  #form;
  /** @type {MappingForm} */
  #mapping;
  /** @type {Group} */
  #condition;
  #builder;
  #request;

  /** @param {Context} context @param {Field|null} field that it fills @param {() => void} show
   * @param {() => void} onRun */
  constructor(context, field, show, onRun) {
    const { session } = context;
    this.#context = context;
    this.#show = show;
    this.#request = new RequestState(show);
    this.#onRun = onRun;
    this.#ai = session.aiFields.find(({ id }) => id === field?.ai_field) ?? null;
    this.#form = formOf(this.#ai);
    this.#mapping = this.#newMapping(this.#ai?.mapping ?? {});
    this.#condition = asGroup(this.#ai?.condition);
    this.#builder = new FilterBuilder(() => this.#fields, show);
  }

  get heading() {
    return this.#ai?.name ?? t("tables.ai_new");
  }

  /** That it can read: its own answers are none of them. */
  get #fields() {
    const own = this.#ai?.id;
    return this.#context.session.data.fields.filter(({ ai_field }) =>
      own === undefined || ai_field !== own
    );
  }

  /** @param {import("../../client/types.d.ts").Mapping} mapping */
  #newMapping(mapping) {
    const fields = this.#fields;
    const { store } = this.#context.app;
    const form = new MappingForm(
      store.scene(this.#form.scene),
      fields.map(({ key }) => key),
      mapping,
      (key) => fields.find((field) => field.key === key)?.name ?? key,
    );
    form.hasExamples = true;
    return form;
  }

  template() {
    const { session } = this.#context;
    const isFixed = !session.may.edit;
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#save();
    };
    return html`
      <form class="row-form" novalidate @submit=${submit}>
        <fieldset class="plain" ?disabled=${isFixed}>
          ${this.#sceneFields()} ${this.#form.scene ? this.#moreFields() : nothing}
        </fieldset>
        <div class="notices">${notice(this.#request.error)}</div>
        ${policyNote(this.#ai)}
        <div class="run-actions">
          ${isFixed ? nothing : html`
            <button type="submit" class="button primary" ?disabled=${!this.#isReady}>
              ${t(this.#ai ? "tables.save" : "tables.ai_add")}
            </button>
          `}
          ${this.#ai && session.may.run
            ? html`
              <button type="button" class="button" @click=${this.#onRun}>
                ${icon("play")}${t("tables.run_cells")}
              </button>
            `
            : nothing}
          ${this.#ai && !isFixed
            ? html`
              <button type="button" class="button" @click=${() => this.#delete()}>
                ${icon("trash")}${t("tables.delete_field")}
              </button>
            `
            : nothing}
        </div>
      </form>
    `;
  }

  get #isReady() {
    const { name, scene } = this.#form;
    return !this.#request.isBusy && name.trim() !== "" && scene !== "" &&
      !this.#mapping.isIncomplete;
  }

  #sceneFields() {
    const form = this.#form;
    const { scenes } = this.#context.app.store;
    return html`
      ${inputField({
        id: idOf(form, "name"),
        label: t("tables.name"),
        value: form.name,
        onChange: (name) => {
          form.name = name;
          this.#show();
        },
      })}
      ${selectField({
        id: idOf(form, "scene"),
        label: t("runs.scene"),
        value: form.scene,
        options: [
          ["", t("form.choose")],
          ...scenes.map((
            { slug, title },
          ) => /** @type {[string, string]} */ ([slug, title || slug])),
        ],
        onChange: (scene) => {
          form.scene = scene;
          form.name ||= scenes.find(({ slug }) => slug === scene)?.title ?? "";
          this.#mapping = this.#newMapping({});
          this.#show();
        },
      })}
    `;
  }

  #moreFields() {
    const form = this.#form;
    const { models } = this.#context.app;
    return html`
      ${this.#mapping.template(undefined, {}, this.#show)}
      ${selectField({
        id: idOf(form, "model"),
        label: t("composer.model"),
        value: form.model,
        options: [
          ["", t("runs.usual_model")],
          ...models.map(({ name }) => /** @type {[string, string]} */ ([name, name])),
        ],
        onChange: (model) => (form.model = model),
      })}
      ${this.#ai ? nothing : selectField({
        id: idOf(form, "output"),
        label: t("tables.output_kind"),
        value: form.output,
        options: [
          [BY_SCENE, t("tables.output_by_scene")],
          ...OUTPUT_KINDS.map((kind) => /** @type {[string, string]} */ ([kind, kindName(kind)])),
        ],
        onChange: (output) => (form.output = output),
        help: t("tables.output_help"),
      })}
      <h3>${t("tables.condition")}</h3>
      ${this.#builder.template(this.#condition)}
      ${this.#policyFields()}
    `;
  }

  #policyFields() {
    const form = this.#form;
    return html`
      ${selectField({
        id: idOf(form, "policy"),
        label: t("tables.policy"),
        value: form.policy,
        options: POLICIES.map((policy) => [policy, t(`tables.policy_${policy}`)]),
        onChange: (policy) => {
          form.policy = /** @type {AiField["policy"]} */ (policy);
          this.#show();
        },
      })}
      ${form.policy === "by_hand" ? nothing : html`
        ${inputField({
          id: idOf(form, "rows"),
          label: t("tables.max_rows_per_hour"),
          value: form.rows,
          mode: "numeric",
          onChange: (rows) => (form.rows = rows),
        })}
        ${inputField({
          id: idOf(form, "cost"),
          label: t("tables.max_cost_per_day"),
          value: form.cost,
          mode: "decimal",
          onChange: (cost) => (form.cost = cost),
        })}
      `}
    `;
  }

  #given() {
    const { name, scene, model, policy, rows, cost, output } = this.#form;
    const outputs = output && !this.#ai ? { outputs: [{ name: name.trim(), kind: output }] } : {};
    return {
      name: name.trim(),
      scene,
      model,
      mapping: this.#mapping.value,
      condition: completeFilter(this.#condition),
      policy,
      max_rows_per_hour: rows.trim() ? Number(rows) : null,
      max_cost_per_day: cost.trim() || null,
      ...outputs,
    };
  }

  async #save() {
    if (!this.#isReady) return;
    const { api, session, say } = this.#context;
    await this.#request.run(async () => {
      this.#ai = this.#ai
        ? await api.changeAiField(this.#ai.id, this.#given())
        : await api.addAiField(session.data.id, this.#given());
      await session.reloadFields();
      say(t("tables.ai_saved", { name: this.#ai.name }));
    });
  }

  async #delete() {
    const { api, session, say } = this.#context;
    const { id, name } = /** @type {AiField} */ (this.#ai);
    const text = t("tables.ai_delete_text", { name });
    if (!(await confirmAction(t("tables.delete_field"), text, t("dialog.delete.action")))) return;
    await this.#request.run(async () => {
      await api.deleteAiField(id);
      this.#ai = null;
      await session.reloadFields();
      this.#onRun();
      say(t("tables.field_deleted", { name }), async () => {
        await api.restoreAiField(id);
        await session.reloadFields();
      });
    });
  }
}

/** @param {AiField|null} ai */
function formOf(ai) {
  return {
    name: ai?.name ?? "",
    scene: ai?.scene ?? "",
    model: ai?.model ?? "",
    policy: ai?.policy ?? "by_hand",
    rows: String(ai?.max_rows_per_hour ?? ""),
    cost: ai?.max_cost_per_day ?? "",
    output: BY_SCENE,
  };
}
