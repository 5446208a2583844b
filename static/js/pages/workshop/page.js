/** The page on which the versions of a scene are written, tried, compared and published. */

import { Form } from "../../forms/form.js";
import { loadTexts, t } from "../../i18n/i18n.js";
import { html, nothing, render } from "../../lit.js";
import { parseExactly, stringify } from "../../client/json.js";
import { href } from "../../shell/routes.js";
import { request } from "../../net/api.js";
import { detail, notice } from "../../ui/notice.js";
import { RequestState } from "../../ui/request_state.js";
import { fieldsOf, isEqual, objectOf, schemaOrNull, textsOf } from "./draft.js";
import { differences, editorTemplate, NAMES, promptTemplate } from "./editor.js";
import { choiceTemplate, conflictTemplate, tryTemplate } from "./choices.js";
import { Trial } from "./trial.js";
import { Versions } from "./versions.js";

/**
 * @import { App, Page } from "../../shell/types.d.ts"
 * @import { Texts, Version } from "./draft.js"
 */

const PREVIEW_MS = 350;

await loadTexts("reasons");

/** @param {App} app @param {string|null} slug @returns {Page} */
export default function createPage(app, slug) {
  return new WorkshopPage(app, slug ?? "");
}

/** @implements {Page} */
class WorkshopPage {
  element = document.createElement("div");
  dock = null;
  opensAt = /** @type {const} */ ("start");
  #app;
  #slug;
  #versions;
  /** @type {Texts|null} null: the scene has no version yet */
  #texts = null;
  #form = new Form({ properties: {}, additionalProperties: false });
  #formSchema = "";
  /** @type {{role: string, content: string}[]|null} */
  #prompt = null;
  /** Why there is no prompt. @type {string} */
  #promptRefusal = "";
  /** @type {Record<string, string>} by field */
  #errors = {};
  #request = new RequestState(() => this.#show());
  /** @type {Version|null} what another editor has saved meanwhile */
  #theirs = null;
  /** @type {{name: string, description: string}[]} */
  #tools = [];
  /** @type {Trial|null} */
  #trial = null;
  #previewTimer = 0;
  #previews = 0;
  #isDisposed = false;

  /** @param {App} app @param {string} slug */
  constructor(app, slug) {
    this.#app = app;
    this.#slug = slug;
    this.#versions = new Versions(slug);
    this.element.className = "workshop";
    this.element.addEventListener("change", ({ target }) => {
      if (target === this.#form.element) this.#previewSoon();
    });
  }

  get title() {
    return t("workshop.title", { title: this.#versions.scene.title || this.#slug });
  }

  focus() {
    this.element.querySelector("select")?.focus({ preventScroll: true });
  }

  async load() {
    const [{ items }] = await Promise.all([
      request("GET", "/llmchat/tools"),
      this.#versions.load(),
    ]);
    this.#tools = items;
    this.#opened();
    this.#app.showTitle();
  }

  async refresh() {}

  dispose() {
    this.#isDisposed = true;
    clearTimeout(this.#previewTimer);
    this.#trial?.dispose();
  }

  // --- Versions -------------------------------------------------------------------------------
  /** Another version is on the page, or the same as it is saved now. */
  #opened() {
    const { current } = this.#versions;
    const kept = this.#kept();
    this.#texts = current && { ...textsOf(current), ...kept?.texts };
    this.#errors = {};
    // What was kept may be of an earlier text than what is saved now.
    this.#theirs = kept && kept.etag !== this.#versions.etag ? current : null;
    this.#show();
    this.#preview();
  }

  get #place() {
    return `w/${this.#slug}/${this.#versions.current?.number}`;
  }

  /**
   * What was written of this draft, and not saved.
   *
   * @returns {{etag: string, texts: Texts}|null}
   */
  #kept() {
    const { current } = this.#versions;
    if (!current || current.published_at) return null;
    const text = this.#app.drafts.read(this.#place);
    return text ? JSON.parse(text) : null;
  }

  #keep() {
    const { etag } = this.#versions;
    const text = this.#isChanged ? JSON.stringify({ etag, texts: this.#texts }) : "";
    this.#app.drafts.write(this.#place, text);
  }

  get #isDraft() {
    return this.#versions.current !== null && !this.#versions.current.published_at;
  }

  get #isChanged() {
    const { current } = this.#versions;
    return this.#isDraft && current && this.#texts !== null &&
      !isEqual(this.#texts, textsOf(current));
  }

  /** @param {() => Promise<unknown>} action */
  #run(action) {
    return this.#request.run(() => action().catch((error) => this.#fail(error)));
  }

  /** @param {any} error */
  async #fail(error) {
    const field = NAMES.find((name) => error.field === name || error.field?.startsWith(`${name}.`));
    if (field) {
      this.#errors = { ...this.#errors, [field]: fieldText(error, field) };
    } else if (error.code === "precondition_failed") {
      await this.#readTheirs(error);
    } else if (error.code !== "invalid_form") {
      this.#request.error = error;
    }
  }

  /** Another editor was first: both texts are there until one is chosen. @param {any} error */
  async #readTheirs(error) {
    const mine = this.#texts;
    try {
      await this.#versions.load(this.#versions.current?.number ?? null);
    } catch (gone) {
      this.#request.error = gone;
      return;
    }
    if (!this.#isDraft) this.#request.error = error;
    this.#theirs = this.#versions.current;
    this.#texts = this.#isDraft ? mine : this.#theirs && textsOf(this.#theirs);
  }

  async #save() {
    if (!this.#texts || !this.#isChanged) return;
    await this.#versions.save(fieldsOf(this.#texts));
    this.#app.drafts.write(this.#place, "");
    this.#opened();
    this.#app.announce(t("workshop.saved"));
  }

  async #publish() {
    await this.#save();
    await this.#versions.publish();
    await this.#isLiveNow();
  }

  async #isLiveNow() {
    this.#opened();
    this.#app.announce(t("workshop.published"));
    await this.#app.store.reloadScenes();
  }

  // --- Preview --------------------------------------------------------------------------------
  #previewSoon() {
    clearTimeout(this.#previewTimer);
    this.#previewTimer = setTimeout(() => this.#preview(), PREVIEW_MS);
  }

  /** @returns {Promise<void>} */
  async #preview() {
    if (!this.#texts) return;
    const preview = ++this.#previews;
    const { system_template, user_template } = this.#texts;
    /** @type {Record<string, string>} */
    let errors = {};
    try {
      const variables_schema = objectOf(this.#texts, "variables_schema");
      const output_schema = schemaOrNull(this.#texts);
      const variables = this.#form.peek();
      const body = { system_template, user_template, variables_schema, output_schema, variables };
      const found = await this.#versions.preview(body);
      if (preview !== this.#previews || this.#isDisposed) return;
      if (this.#useSchema(found.variables_schema)) return await this.#preview();
      this.#prompt = found.messages;
      this.#promptRefusal = found.refusal ? t("workshop.no_prompt") : "";
    } catch (caught) {
      if (preview !== this.#previews || this.#isDisposed) return;
      const error = /** @type {any} */ (caught);
      this.#prompt = null;
      this.#promptRefusal = t("workshop.broken");
      if (NAMES.includes(error.field)) errors = { [error.field]: fieldText(error, error.field) };
      else this.#request.error = error;
    }
    this.#errors = errors;
    this.#show();
  }

  /** @param {any} schema @returns {boolean} whether the form is another now */
  #useSchema(schema) {
    const text = stringify(schema);
    if (text === this.#formSchema) return false;
    const values = this.#formSchema ? this.#form.peek() : this.#keptVariables();
    this.#formSchema = text;
    this.#form = new Form(schema);
    this.#form.fill(values);
    return true;
  }

  #keptVariables() {
    return parseExactly(this.#app.drafts.read(`w/${this.#slug}`) || "{}");
  }

  // --- Trying ---------------------------------------------------------------------------------
  async #try() {
    const variables = this.#form.read();
    this.#app.drafts.write(`w/${this.#slug}`, stringify(variables));
    await this.#save();
    this.#trial?.dispose();
    const trial = new Trial(this.#app, {
      onChange: () => this.#show(),
      onRetry: () => this.#run(() => this.#try()),
    });
    this.#trial = trial;
    this.#show();
    try {
      await trial.start({
        scene: this.#slug,
        version: this.#versions.current?.number,
        variables,
      });
    } catch (error) {
      trial.dispose();
      this.#trial = null;
      throw error;
    }
  }

  // --- Showing --------------------------------------------------------------------------------
  #show() {
    if (this.#isDisposed) return;
    render(this.#template(), this.element);
  }

  #template() {
    const { current } = this.#versions;
    return html`
      ${this.#head()}
      <div class="notices">${notice(this.#request.error)}</div>
      ${this.#theirs ? this.#conflict() : nothing}
      ${current && this.#texts ? this.#body(current, this.#texts) : nothing}
    `;
  }

  #head() {
    const { current } = this.#versions;
    const open = (/** @type {number} */ number) =>
      this.#run(async () => {
        await this.#versions.open(number);
        this.#opened();
      });
    return html`
      <div class="workshop-head">
        ${choiceTemplate(this.#versions, { isDisabled: this.#request.isBusy, onOpen: open })}
        <div class="workshop-actions">${this.#actions()}</div>
      </div>
      ${current?.is_live
        ? html`<p class="muted">${t("workshop.is_live")}
          <a href=${href({ name: "scene", id: this.#slug })}>${t("workshop.to_scene")}</a></p>`
        : nothing}
    `;
  }

  #actions() {
    const { current, live } = this.#versions;
    const mayPublish = this.#app.mayPublish(this.#slug);
    /** @param {string} label @param {string} style @param {() => Promise<unknown>} action
     * @param {boolean} [isDisabled] */
    const button = (label, style, action, isDisabled = false) =>
      html`
        <button type="button" class="button ${style}" ?disabled=${isDisabled ||
          this.#request.isBusy}
          @click=${() => this.#run(action)}>${label}</button>
      `;
    const copy = button(t(live ? "workshop.copy" : "workshop.first"), "", async () => {
      await this.#versions.copy();
      this.#opened();
    });
    if (!current) return copy;
    if (current.is_live) return copy;
    if (!this.#isDraft) {
      const back = button(t("workshop.make_live"), "primary", async () => {
        await this.#versions.makeLive();
        await this.#isLiveNow();
      }, !mayPublish);
      return html`${copy} ${back}`;
    }
    const drop = button(t("workshop.drop"), "", async () => {
      await this.#versions.drop();
      this.#opened();
    });
    return html`
      ${drop} ${button(t("workshop.save"), "", () => this.#save(), !this.#isChanged)}
      ${button(t("workshop.publish"), "primary", () => this.#publish(), !mayPublish)}
    `;
  }

  #conflict() {
    const theirs = this.#theirs;
    if (!theirs || !this.#texts || !this.#isDraft) return nothing;
    const take = () => {
      this.#app.drafts.write(this.#place, "");
      this.#opened();
    };
    const keep = () => {
      this.#theirs = null;
      this.#run(() => this.#save());
    };
    return conflictTemplate({ theirs, texts: this.#texts, onTake: take, onKeep: keep });
  }

  /** @param {Version} current @param {Texts} texts */
  #body(current, texts) {
    const { live } = this.#versions;
    const editing = {
      texts,
      isReadOnly: !this.#isDraft,
      errors: this.#errors,
      models: this.#app.models.map(({ name }) => name),
      tools: this.#tools,
      onInput: (/** @type {keyof Texts} */ name, /** @type {string} */ text) => {
        texts[name] = text;
        this.#keep();
        this.#show();
        this.#previewSoon();
      },
    };
    return html`
      <div class="workshop-body">
        <section class="workshop-part" aria-label=${t("workshop.writing")}>
          ${editorTemplate(editing)}
        </section>
        <section class="workshop-part" aria-label=${t("workshop.trying")}>
          <h2>${t("form.variables")}</h2>
          ${this.#form.element}
          <h2>${t("workshop.prompt")}</h2>
          ${this.#prompt ? promptTemplate(this.#prompt) : nothing}
          <p class="muted" role="status">${this.#promptRefusal}</p>
          ${tryTemplate({
            isDraft: this.#isDraft,
            isBusy: this.#request.isBusy,
            isRunning: this.#trial?.isActive ?? false,
            onTry: () => this.#run(() => this.#try()),
            onStop: () => this.#run(() => this.#trial?.stop() ?? Promise.resolve()),
          })}
          <div class="trial">${this.#trial?.element ?? nothing}</div>
        </section>
      </div>
      ${live && live.number !== current.number
        ? html`
          <section class="workshop-part" aria-label=${t("workshop.differences")}>
            <h2>${t("workshop.differences")}</h2>
            ${differences(live, texts)}
          </section>
        `
        : nothing}
    `;
  }
}

/** What is wrong with a field, or with a part of it. @param {any} error @param {string} field */
function fieldText(error, field) {
  if (error.code === "not_json") return t("form.not_json");
  const { text } = detail(error);
  const part = error.field.slice(field.length + 1);
  return part ? t("error.of_field", { field: part, message: text }) : text;
}
