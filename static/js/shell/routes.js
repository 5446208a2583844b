/** The app's pages and their addresses, kept in the hash so that reloading and sharing a tab's
 * place work. A new page is one line here and a module whose default export makes the page. */

/**
 * @import { PageModule, Route } from "./types.d.ts"
 * @typedef {{path: RegExp, href: (id: string|null) => string,
 *   load: () => Promise<PageModule>}} Entry
 */

/** @type {Record<Route["name"], Entry>} */
export const ROUTES = {
  chat: {
    path: /^#\/(?:c\/([\w-]+))?$/,
    href: (id) => (id === null ? "#/" : `#/c/${id}`),
    load: () => import("../pages/chat/page.js"),
  },
  scene: {
    path: /^#\/s\/([\w-]+)$/,
    href: (id) => `#/s/${id}`,
    load: () => import("../pages/scene/page.js"),
  },
  settings: {
    path: /^#\/settings$/,
    href: () => "#/settings",
    load: () => import("../pages/settings/page.js"),
  },
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
