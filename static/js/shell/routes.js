/** The addresses of the app's pages, kept in the hash so that reloading and sharing a tab's place
 * work. A new page is one line here and one in pages.js. */

/** @import { Route } from "./types.d.ts" */

/** @type {Record<Route["name"], {path: RegExp, href: (id: string|null) => string}>} */
const ROUTES = {
  chat: {
    path: /^#\/(?:c\/([\w-]+))?$/,
    href: (id) => (id === null ? "#/" : `#/c/${id}`),
  },
  scene: { path: /^#\/s\/([\w-]+)$/, href: (id) => `#/s/${id}` },
  workshop: { path: /^#\/w\/([\w-]+)$/, href: (id) => `#/w/${id}` },
  runs: {
    path: /^#\/runs(?:\/([\w-]+))?$/,
    href: (id) => (id === null ? "#/runs" : `#/runs/${id}`),
  },
  waiting: { path: /^#\/waiting$/, href: () => "#/waiting" },
  tables: {
    // A table, and which of its views.
    path: /^#\/tables(?:\/(\d+(?:\/\d+)?))?$/,
    href: (id) => (id === null ? "#/tables" : `#/tables/${id}`),
  },
  settings: { path: /^#\/settings$/, href: () => "#/settings" },
};

/** @param {string} hash such as "#/c/0198…" @returns {Route} a new chat for anything unknown */
export function parseRoute(hash) {
  for (const [name, { path }] of Object.entries(ROUTES)) {
    const match = path.exec(hash);
    if (match) return { name: /** @type {Route["name"]} */ (name), id: match[1] ?? null };
  }
  return { name: "chat", id: null };
}

/** @param {Route} route @returns {string} */
export function href({ name, id }) {
  return ROUTES[name].href(id);
}
