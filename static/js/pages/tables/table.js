/** One table: its grid or cards, the tools above them, and the panel beside them. */

import { detailOf } from "../../client/tasks.js";
import { t } from "../../i18n/i18n.js";
import { render } from "../../lit.js";
import { Actions } from "./actions.js";
import { Cards } from "./cards.js";
import { cellMenu } from "./cell_menu.js";
import { useClipboard } from "./clipboard_events.js";
import { showHint } from "./empty_hint.js";
import { ExportSheet } from "./export_sheet.js";
import { openFieldMenu } from "./fields_menu.js";
import { TableGrid } from "./grid.js";
import { headingLabel } from "./grid_nodes.js";
import { aggregateText } from "./groups.js";
import { ImportSheet } from "./import_sheet.js";
import { Keys } from "./keys.js";
import { Panel } from "./panel.js";
import { TableSession } from "./session.js";
import { StatusBar } from "./status_bar.js";
import { surfaceOf } from "./surface.js";
import { toolbar } from "./toolbar.js";
import { openValueSheet } from "./value_sheet.js";
import { draftOf } from "./view_state.js";

/**
 * @import { App, Page } from "../../shell/types.d.ts"
 * @import { TablesApi } from "./api.js"
 * @import { Heading } from "./layout.js"
 * @import { Field, Row } from "./types.d.ts"
 */

const NARROW = matchMedia("(max-width: 700px)");

/** @implements {Page} */
export class TablePage {
  element = document.createElement("section");
  dock = null;
  opensAt = /** @type {const} */ ("start");
  #app;
  #api;
  #styled;
  #session;
  #tools = document.createElement("div");
  #body = document.createElement("div");
  #hint = document.createElement("div");
  #status;
  /** @type {TableGrid|null} */
  #grid = null;
  /** @type {Cards|null} */
  #cards = null;
  #actions;
  #keys;
  #panel;
  /** A phone that wants the grid all the same. */
  #wantsGrid = false;
  /** Its rows are known. */
  #isOpen = false;
  #left = new AbortController();

  /**
   * @param {App} app @param {TablesApi} api @param {Promise<unknown>} styled
   * @param {number} tableId @param {number|null} viewId
   */
  constructor(app, api, styled, tableId, viewId) {
    this.#app = app;
    this.#api = api;
    this.#styled = styled;
    const draft = draftOf(app.drafts, `tables/${tableId}/new-view`);
    this.#session = new TableSession(app.socket, api, tableId, viewId, draft);
    this.element.className = "table-page";
    this.#tools.className = "table-tools";
    this.#body.className = "table-body";
    this.#hint.className = "table-hint";
    this.#status = new StatusBar(this.#session, {
      onProblems: () => this.#panel.open("problems", {}),
    });
    this.#actions = new Actions(
      surfaceOf(this.#session, () => this.#grid, (message) => this.say(message)),
    );
    this.#keys = new Keys(this.#session, this.#actions, (message) => this.say(message));
    this.#panel = new Panel(this.#context(), () => this.#showTools());
    const main = document.createElement("div");
    main.className = "table-main";
    main.append(this.#body, this.#panel.element);
    this.element.append(this.#tools, main, this.#status.element);
    this.#listen();
  }

  get title() {
    return this.#session.table?.name ?? t("tables.title");
  }

  focus() {
    this.element.tabIndex = -1;
    this.element.focus({ preventScroll: true });
  }

  async load() {
    await Promise.all([this.#styled, this.#session.load()]);
    if (this.#left.signal.aborted) return;
    this.#app.showTitle();
    this.#moved();
    this.#showTools();
    this.#draw();
    await this.#session.open();
  }

  async refresh() {}

  dispose() {
    this.#left.abort();
    this.#status.dispose();
    this.#grid?.commit();
    this.#grid?.dispose();
    this.#cards?.dispose();
    this.#panel.dispose();
    this.#session.dispose();
  }

  // --- What the parts are given -------------------------------------------------------------------
  /** @returns {import("./panel.js").Context} */
  #context() {
    return {
      app: this.#app,
      api: this.#api,
      session: this.#session,
      say: (message, undo) => this.say(message, undo),
      selectedRows: () => this.#actions.selectedRows(),
      showAnswers: (aiField) => this.#showAnswers(aiField),
      redraw: () => this.#redraw(),
    };
  }

  /** @returns {import("./fields_menu.js").FieldTools} */
  #fieldTools() {
    const session = this.#session;
    return {
      api: this.#api,
      table: () => session.data,
      view: () => session.view,
      mayEdit: session.may.edit,
      reload: () => session.reloadFields(),
      say: (message, undo) => this.say(message, undo),
      onAiField: (field) => this.#panel.open("ai", { field }),
      onFilter: (field) => this.#panel.filterBy(field),
      onClosed: () => {
        // Headers are made anew when fields change: what had the focus may be gone.
        if (document.activeElement === document.body) this.#grid?.focus();
      },
    };
  }

  // --- Events ---------------------------------------------------------------------------------------
  #listen() {
    const { signal } = this.#left;
    const session = this.#session;
    session.addEventListener("rows", (event) => {
      this.#refresh(detailOf(event));
    });
    session.addEventListener("opened", () => {
      this.#isOpen = true;
      this.#grid?.resetSelection();
      this.#refreshLength();
    });
    session.addEventListener("length", () => this.#refreshLength());
    session.addEventListener("layout", () => this.#redraw());
    session.addEventListener("address", () => this.#moved());
    session.addEventListener("state", () => {
      this.#showTools();
      this.#status.show();
    });
    session.addEventListener("failed", (event) => {
      this.#status.fail(detailOf(event));
    });
    session.addEventListener("reconnected", () => this.#status.reconnected());
    session.addEventListener("lost", () => {
      this.#panel.reset();
      this.#redraw();
      this.#status.show();
    });
    NARROW.addEventListener("change", () => this.#draw(), { signal });
    useClipboard({
      actions: this.#actions,
      hasFocus: () => this.#grid?.hasFocus ?? false,
      isEmpty: () => this.#isEmpty,
    }, signal);
  }

  // --- Drawing ------------------------------------------------------------------------------------
  #draw() {
    this.#grid?.dispose();
    this.#cards?.dispose();
    this.#grid = null;
    this.#cards = null;
    if (NARROW.matches && !this.#wantsGrid) {
      this.#cards = new Cards(this.#body, this.#session, { onOpen: (row) => this.#openRow(row) });
    } else {
      this.#grid = this.#makeGrid();
    }
    this.#redraw();
  }

  #makeGrid() {
    const session = this.#session;
    const source = {
      lines: () => session.lines.count,
      at: (/** @type {number} */ line) => session.lines.at(line),
      cell: (/** @type {Row} */ row, /** @type {Field} */ field) => session.lines.cell(row, field),
      numberOf: (/** @type {number} */ line) => session.lines.numberOf(line),
      headingText: (/** @type {Heading} */ heading) => this.#headingText(heading),
    };
    return new TableGrid(this.#body, source, this.#gridCallbacks(), {
      label: t("tables.grid_label", { name: session.data.name }),
      nonce: this.#app.tableAssets.nonce,
      mayEdit: session.may.edit,
    });
  }

  /** @returns {import("./grid_types.d.ts").Callbacks} */
  #gridCallbacks() {
    const session = this.#session;
    return {
      onEdit: (row, field, value, was) => session.edit(row, field, value, was),
      onOpenValue: (line, field) => this.#openValue(line, field),
      onFieldMenu: (field, anchor) => openFieldMenu(field, anchor, this.#fieldTools()),
      onCellMenu: (line, field, anchor) => this.#openCellMenu(line, field, anchor),
      onOpenRow: (line) => this.#openRow(session.lines.rowAt(line)),
      onActive: (line, field) => {
        const row = session.lines.rowAt(line);
        if (row) this.#panel.follow(row, field);
      },
      onToggle: ({ key }) => {
        session.lines.layout.toggle(key);
        this.#refreshLength();
      },
      onWidths: (widths) => session.view.change({ widths }),
      onMoveField: ({ key, target, isAfter }) =>
        session.view.moveBeside(session.data.fields, key, target, isAfter),
      onKey: (event) => this.#keys.press(event, this.#grid),
      onVisible: () => this.#grid && session.lines.setVisible(this.#grid.visible),
      onInvalid: (message) => this.say(message),
    };
  }

  /** @param {Heading} heading */
  #headingText(heading) {
    const field = this.#session.groupField(heading.level);
    if (!field) return "";
    const parts = aggregateText(this.#session.data.fields, heading.aggregates, this.#session.view);
    return [headingLabel(field, heading), ...parts].join(" · ");
  }

  #redraw() {
    const { view, fieldsShown, may } = this.#session;
    this.#grid?.setMayEdit(may.edit);
    this.#grid?.setFields(fieldsShown, view.state.widths, view.state.frozen);
    this.#cards?.show();
    this.#showTools();
    this.#panel.show();
  }

  /** @param {number} aiField */
  #showAnswers(aiField) {
    const outputs = this.#session.fieldsShown.filter(({ ai_field }) => ai_field === aiField);
    // The first one as well, where all have no room.
    for (const field of outputs.reverse()) this.#grid?.showField(field);
  }

  /** @param {number[]} lines */
  #refresh(lines) {
    this.#grid?.refresh(lines);
    this.#cards?.show();
    this.#panel.show();
  }

  get #isEmpty() {
    return this.#isOpen && this.#grid !== null && this.#session.lines.count === 0;
  }

  #refreshLength() {
    this.#grid?.refreshLength();
    this.#cards?.show();
    showHint(this.#hint, this.#session, this.#isEmpty);
    this.#body.append(this.#hint);
    this.#showTools();
    this.#status.show();
  }

  // --- What is done in it -------------------------------------------------------------------------
  /** @param {number} line @param {Field} field */
  #openValue(line, field) {
    const row = this.#session.lines.rowAt(line);
    if (!row) return;
    const value = this.#session.lines.valueOf(row, field);
    const sheet = openValueSheet(field, value, this.#session.links, (chosen) => {
      this.#session.edit(row, field, chosen, value);
    });
    sheet.closed.then(() => this.#grid?.focus());
  }

  /** @param {number} line @param {Field} field @param {Element} anchor */
  #openCellMenu(line, field, anchor) {
    const row = this.#session.lines.rowAt(line);
    if (!row) return;
    cellMenu(anchor, row, field, {
      session: this.#session,
      actions: this.#actions,
      say: (message, undo) => this.say(message, undo),
      onInspect: () => this.#panel.open("cell", { row, field }),
      onOpenRow: () => this.#openRow(row),
      onEdit: () => this.#grid?.edit(),
      onFilter: () => this.#panel.filterBy(field, this.#session.lines.valueOf(row, field)),
      onRun: () => this.#panel.open("runs", {}),
      onMoved: (step) => this.#grid?.goTo(line + step, field),
    });
  }

  /** @param {Row|null} row */
  #openRow(row) {
    if (row) this.#panel.open("row", { row });
  }

  async #addRow() {
    if (this.#grid && !this.#grid.commit()) return;
    try {
      await this.#session.create([{}]);
      this.#grid?.goTo(this.#session.lines.count - 1);
    } catch {
      // The session has said why.
    }
  }

  /** @param {string} text @param {(() => unknown)} [undo] what takes it back */
  say(text, undo) {
    this.#status.say(text, undo);
  }

  // --- Tools --------------------------------------------------------------------------------------
  #showTools() {
    const session = this.#session;
    if (this.#left.signal.aborted || !session.isLoaded) return;
    const parts = {
      session,
      panel: this.#panel,
      isCards: this.#cards !== null,
      isNarrow: NARROW.matches,
      onAddRow: () => this.#addRow(),
      onUndo: () => this.#keys.step("undo"),
      onRedo: () => this.#keys.step("redo"),
      onToggleCards: () => {
        this.#wantsGrid = !this.#wantsGrid;
        this.#draw();
      },
      onImport: () => this.#import(),
      onExport: () => new ExportSheet(this.#api, session),
      onView: (/** @type {number|null} */ id) => this.#openView(id),
      fieldTools: this.#fieldTools(),
      api: this.#api,
      app: this.#app,
      say: (/** @type {string} */ text) => this.say(text),
    };
    render(toolbar(parts), this.#tools);
  }

  #import() {
    new ImportSheet(this.#app, this.#api, this.#session.data, async () => {
      await this.#session.reloadFields().catch((error) => this.#status.fail(error));
      await this.#session.reopen();
    });
  }

  /** @param {number|null} id */
  async #openView(id) {
    this.#grid?.commit();
    try {
      await this.#session.openView(id);
    } catch (error) {
      return this.#status.fail(error);
    }
    this.#panel.reset();
    this.#moved();
    this.#redraw();
  }

  #moved() {
    this.#app.moved({ name: "tables", id: this.#session.address });
  }
}
