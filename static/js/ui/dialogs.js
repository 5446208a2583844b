/** Modal dialogs and menus belong to a page. */

/** Close what is open, as the page is left by the browser's Back. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  for (const menu of document.querySelectorAll("[popover]")) {
    /** @type {HTMLElement} */ (menu).hidePopover();
  }
}
