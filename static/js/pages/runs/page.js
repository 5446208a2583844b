/** The pages of runs: the list with the way to a new one, and one run. */

import { loadTexts } from "../../i18n/i18n.js";
import { RunsPage } from "./list.js";
import { RunPage } from "./run.js";

/** @import { App, Page } from "../../shell/types.d.ts" */

await loadTexts("reasons");

/** @param {App} app @param {string|null} id @returns {Page} */
export default function createPage(app, id) {
  return id === null ? new RunsPage(app) : new RunPage(app, id);
}
