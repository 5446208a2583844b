/** Where the page is, kept in the address so that reloading and sharing a tab's place work. */

/**
 * @typedef {{name: "chat", id: string|null} | {name: "scene", id: string} | {name: "task", id: string}} Route
 */

const NAMES = { c: "chat", s: "scene", t: "task" };
const LETTERS = { chat: "c", scene: "s", task: "t" };

/** @param {string} hash such as "#/c/0198…" @returns {Route} the new chat for anything unknown */
export function parseRoute(hash) {
  const [, letter, id] = /^#\/([cst])\/([\w-]+)$/.exec(hash) ?? [];
  return letter ? { name: NAMES[letter], id } : { name: "chat", id: null };
}

/** @param {Route} route @returns {string} */
export function href({ name, id }) {
  return id === null ? "#/" : `#/${LETTERS[name]}/${id}`;
}
