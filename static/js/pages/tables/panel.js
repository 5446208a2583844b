/** The panel beside the grid: one at a time, of the view, a row, a cell, or the AI fields. */

import { t } from "../../i18n/i18n.js";
import { html, render } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { isComposing } from "../../ui/keyboard.js";
import { AiPanel } from "./ai_panel.js";
import { Inspector } from "./inspector.js";
import { problemsTemplate } from "./problems.js";
import { operatorsOf } from "./operators.js";
import { RowPanel } from "./row_panel.js";
import { RunsPanel } from "./runs_panel.js";
import { ViewPanels } from "./view_panels.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { TablesApi } from "./api.js"
 * @import { TableSession } from "./session.js"
 * @import { Field, Row, Value } from "./types.d.ts"
 *
 * @typedef {"filter"|"sort"|"group"|"fields"|"runs"|"ai"|"row"|"cell"|"problems"} PanelName
 * @typedef {{row?: Row, field?: Field}} Subject
 *
 * @typedef {object} Context
 * @property {App} app
 * @property {TablesApi} api
 * @property {TableSession} session
 * @property {(message: string, undo?: () => Promise<unknown>) => void} say
 * @property {() => Promise<number[]>} selectedRows
 * @property {(aiField: number) => void} showAnswers the cells that an AI field fills come into sight
 * @property {() => void} redraw
 *
 * @typedef {object} Part
 * @property {string} heading
 * @property {() => unknown} template
 * @property {() => void} [dispose]
 */

/** Cells that an arrow key passes by are not read. */
const FOLLOW_MS = 150;

export class Panel {
  element = document.createElement("aside");
  /** @type {PanelName|null} */
  name = null;
  #context;
  #onChange;
  /** @type {ViewPanels|null} */
  #views = null;
  /** @type {Part|null} */
  #part = null;
  #timer = 0;
  /** @type {HTMLElement|null} what had the focus before */
  #opener = null;

  /** @param {Context} context @param {() => void} onChange another one is open */
  constructor(context, onChange) {
    this.#context = context;
    this.#onChange = onChange;
    this.element.className = "table-panel";
    this.element.hidden = true;
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented || isComposing(event)) return;
      this.close();
    });
  }

  /** @param {PanelName} name */
  toggle(name) {
    if (this.name === name) this.close();
    else this.open(name, {});
  }

  /** @param {PanelName} name @param {Subject} subject */
  open(name, subject) {
    clearTimeout(this.#timer);
    if (this.name === null) this.#opener = /** @type {HTMLElement|null} */ (document.activeElement);
    this.#part?.dispose?.();
    this.name = name;
    this.#part = this.#make(name, subject);
    this.element.hidden = false;
    this.show();
    this.#onChange();
    this.element.querySelector("h2")?.focus();
  }

  /** Show the answer that has been selected in the grid, which keeps the focus, in place of the one
   * that is shown. @param {Row} row @param {Field} field */
  follow(row, field) {
    clearTimeout(this.#timer);
    if (field.ai_field === null) return;
    this.#timer = setTimeout(() => {
      if (!(this.#part instanceof Inspector) || this.#part.hasDraft) return;
      this.#part?.dispose?.();
      this.#part = this.#make("cell", { row, field });
      this.show();
    }, FOLLOW_MS);
  }

  close() {
    this.#part?.dispose?.();
    this.#part = null;
    this.name = null;
    this.element.hidden = true;
    this.#onChange();
    this.#opener?.focus();
  }

  /** Another view is open. */
  reset() {
    this.#views = null;
    if (this.name) this.close();
  }

  /** @param {Field} field @param {Value} [value] one more condition; none: to be filled in */
  filterBy(field, value) {
    const operators = operatorsOf(field).map(([op]) => op);
    const isEmpty = value === null;
    const op = isEmpty ? "empty" : operators.includes("is") ? "is" : operators[0];
    const given = Array.isArray(value) ? value[0] : value;
    this.#viewPanels.addCondition({
      field: field.key,
      op,
      value: isEmpty ? undefined : given ?? null,
    });
    this.open("filter", {});
  }

  get #viewPanels() {
    const { session } = this.#context;
    this.#views ??= new ViewPanels(session.view, () => session.data.fields, () => this.show());
    return this.#views;
  }

  /** @param {PanelName} name @param {Subject} subject @returns {Part} */
  #make(name, subject) {
    const context = this.#context;
    const show = () => this.show();
    if (name === "runs") return new RunsPanel(context, show, (field) => this.open("ai", { field }));
    if (name === "ai") {
      return new AiPanel(context, subject.field ?? null, show, () => this.open("runs", {}));
    }
    if (name === "row" && subject.row) return new RowPanel(context, subject.row, show);
    if (name === "cell" && subject.row && subject.field) {
      return new Inspector(context, subject.row, subject.field, show);
    }
    if (name === "problems") {
      return {
        heading: t("tables.problems_heading"),
        template: () => problemsTemplate(context.session),
      };
    }
    return this.#viewPart(name);
  }

  /** @param {PanelName} name @returns {Part} */
  #viewPart(name) {
    const panels = this.#viewPanels;
    if (name === "sort") {
      return {
        heading: t("tables.sort"),
        template: () => panels.sortTemplate(),
      };
    }
    if (name === "group") {
      return {
        heading: t("tables.group"),
        template: () => panels.groupTemplate(),
      };
    }
    if (name === "fields") {
      return { heading: t("tables.fields"), template: () => panels.fieldsTemplate() };
    }
    return { heading: t("tables.filter"), template: () => panels.filterTemplate() };
  }

  show() {
    const part = this.#part;
    if (!part) return;
    const template = html`
      <header class="panel-head">
        <h2 id="panel-heading" tabindex="-1" dir="auto">${part.heading}</h2>
        <button type="button" class="icon-button" aria-label=${t("tables.close")}
          title=${t("tables.close")} @click=${() => this.close()}>${icon("close")}</button>
      </header>
      <div class="panel-content">${part.template()}</div>
    `;
    this.element.setAttribute("aria-labelledby", "panel-heading");
    render(template, this.element);
  }

  dispose() {
    this.#part?.dispose?.();
  }
}
