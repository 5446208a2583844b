/** Modal dialogs belong to a page. */

/** Close a dialog when its page is left, as by the browser's Back. @param {HTMLDialogElement} dialog */
export function closeWithPage(dialog) {
  const open = new AbortController();
  addEventListener("hashchange", () => dialog.close(), { signal: open.signal });
  dialog.addEventListener("close", () => open.abort());
}
