/** The pages of tables: the list, and one table. */

import { loadTexts } from "../../i18n/i18n.js";
import { ApiError } from "../../net/api.js";
import { TablesApi } from "./api.js";
import { TablesPage } from "./list.js";
import { TablePage } from "./table.js";

/** @import { App, Page } from "../../shell/types.d.ts" */

await Promise.all([loadTexts("tables"), loadTexts("reasons")]);

/** @param {App} app @param {string|null} id of the table, and perhaps of a view @returns {Page} */
export default function createPage(app, id) {
  const api = new TablesApi();
  const styled = loadStyles(app.tableAssets.styles);
  if (id === null) return new TablesPage(app, api);
  const [table, view] = id.split("/").map(Number);
  return new TablePage(app, api, styled, table, view ?? null);
}

/** @type {Promise<unknown>|null} */
let loading = null;

/** @param {string[]} addresses of style sheets @returns {Promise<unknown>} the grid measures by them */
function loadStyles(addresses) {
  loading ??= Promise.all(addresses.map((address) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = address;
    document.head.append(link);
    return new Promise((resolve, reject) => {
      link.addEventListener("load", resolve);
      link.addEventListener("error", () => reject(new ApiError({ code: "network" })));
    });
  }));
  return loading;
}
