/** The modules of the app's pages, each loaded when its page is first opened. Its default export
 * makes the page. (Apart from their addresses, which pages import: a circle of imports could not be
 * served under hashed names.) */

/** @import { PageModule, Route } from "./types.d.ts" */

/** @type {Record<Route["name"], () => Promise<PageModule>>} */
export const PAGES = {
  chat: () => import("../pages/chat/page.js"),
  scene: () => import("../pages/scene/page.js"),
  workshop: () => import("../pages/workshop/page.js"),
  runs: () => import("../pages/runs/page.js"),
  waiting: () => import("../pages/waiting/page.js"),
  tables: () => import("../pages/tables/page.js"),
  settings: () => import("../pages/settings/page.js"),
};
