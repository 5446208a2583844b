/** Modal dialogs and menus belong to a page. */

/** Close it when its page is left, as by the browser's Back.
 * @param {HTMLElement} opened a dialog or popover, in the document as long as it is open */
export function closeWithPage(opened) {
  addEventListener("hashchange", () => {
    if (opened instanceof HTMLDialogElement) opened.close();
    else if (opened.isConnected) opened.hidePopover();
  }, { once: true });
}
