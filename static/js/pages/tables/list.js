/** The list of tables, and the ways to a new one. */

import { formatDateTime, t } from "../../i18n/i18n.js";
import { html, nothing, render, repeat } from "../../lit.js";
import { href } from "../../shell/routes.js";
import { newestBy, PagedCollection } from "../../store/paged.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";
import { idOf, inputField } from "./forms.js";
import { ImportSheet } from "./import_sheet.js";
import { Sheet } from "./sheet.js";
import { openTablesTrash } from "./trash_sheet.js";

/**
 * @import { App, Page } from "../../shell/types.d.ts"
 * @import { TablesApi } from "./api.js"
 * @import { TableItem } from "./types.d.ts"
 */

const PAGE = 50;

/** @implements {Page} */
export class TablesPage {
  title = t("tables.title");
  element = document.createElement("section");
  dock = null;
  opensAt = /** @type {const} */ ("start");
  #app;
  #api;
  /** @type {PagedCollection<TableItem>} */
  #list;
  #isLoaded = false;
  #isLeft = false;
  /** @type {any} */
  #error = null;

  /** @param {App} app @param {TablesApi} api */
  constructor(app, api) {
    this.#app = app;
    this.#api = api;
    this.#list = new PagedCollection({
      pageSize: PAGE,
      keyOf: ({ id }) => String(id),
      compare: newestBy("id"),
      read: (limit, offset) => api.list({ limit, offset }),
    });
    this.#list.addEventListener("change", () => this.#show());
    this.element.className = "tables";
    this.#show();
  }

  focus() {
    this.element.tabIndex = -1;
    this.element.focus({ preventScroll: true });
  }

  async load() {
    await this.#list.loadFirst();
    this.#isLoaded = true;
    this.#show();
  }

  async refresh() {}

  dispose() {
    this.#isLeft = true;
  }

  #create() {
    const form = { name: "" };
    new Sheet({
      heading: t("tables.new"),
      action: t("tables.create"),
      isReady: () => form.name.trim() !== "",
      content: (sheet) =>
        inputField({
          id: idOf(form, "name"),
          label: t("tables.name"),
          value: form.name,
          onChange: (name) => {
            form.name = name;
            sheet.show();
          },
        }),
      onAction: async () => {
        const fields = [{ name: t("tables.first_field"), kind: /** @type {const} */ ("text") }];
        const { id } = await this.#api.create({ name: form.name.trim(), fields });
        location.hash = href({ name: "tables", id: String(id) });
      },
    });
  }

  #import() {
    new ImportSheet(this.#app, this.#api, null, (id) => {
      location.hash = href({ name: "tables", id: String(id) });
    });
  }

  async #loadMore() {
    try {
      await this.#list.loadMore();
      this.#error = null;
    } catch (error) {
      this.#error = error;
    }
    this.#show();
  }

  #show() {
    if (this.#isLeft) return;
    const { items, hasMore } = this.#list;
    const template = html`
      <div class="tables-head">
        <button type="button" class="button primary" @click=${() => this.#import()}>
          ${icon("upload")}<span>${t("tables.import_new")}</span>
        </button>
        <button type="button" class="button" @click=${() => this.#create()}>
          ${icon("plus")}<span>${t("tables.new")}</span>
        </button>
        <button type="button" class="button"
          @click=${() => openTablesTrash(this.#api, () => this.#list.loadFirst())}>
          ${icon("trash")}<span>${t("tables.trash")}</span>
        </button>
      </div>
      ${this.#isLoaded && items.length === 0
        ? html`<p class="muted">${t("tables.none")}</p>`
        : nothing}
      <ul class="item-list">${repeat(items, ({ id }) => id, itemTemplate)}</ul>
      <div class="notices">${notice(this.#error)}</div>
      ${hasMore
        ? html`
          <button type="button" class="button small" @click=${() => this.#loadMore()}>
            ${t("runs.more")}
          </button>
        `
        : nothing}
    `;
    render(template, this.element);
  }
}

/** @param {TableItem} table */
function itemTemplate({ id, name, description, rows, owner, access, updated_at }) {
  return html`
    <li class="table-item" data-key=${id}>
      <a href=${href({ name: "tables", id: String(id) })}>
        ${icon("table")}
        <span class="item-name" dir="auto">${name}</span>
        <span class="muted">${t("tables.rows", { count: rows })}</span>
        <span class="muted">${access.includes("own") ? "" : owner}</span>
        <span class="muted">${formatDateTime(updated_at)}</span>
        ${description
          ? html`<span class="muted table-item-text" dir="auto">${description}</span>`
          : nothing}
      </a>
    </li>
  `;
}
