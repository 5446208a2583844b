/** The theme of the web app, which is a cookie: set before the page is drawn, changed by the button.
 * In place of Django's script, which keeps a theme of its own. */
"use strict";
{
  const YEAR_SECONDS = 31_536_000;

  /** The cookie's word for it; Django's style sheets call what the browser decides `auto`. */
  const current = () => {
    const theme = /(?:^|;\s*)theme=(light|dark)(?:;|$)/.exec(document.cookie)?.[1];
    return theme ?? "auto";
  };

  const apply = () => {
    document.documentElement.dataset.theme = current();
  };

  const cycle = () => {
    const prefersDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const order = prefersDark ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    const next = order[(order.indexOf(current()) + 1) % order.length];
    const secure = location.protocol === "https:" ? "; Secure" : "";
    const value = next === "auto" ? "system" : next;
    document.cookie = `theme=${value}; Path=/; Max-Age=${YEAR_SECONDS}; SameSite=Lax${secure}`;
    apply();
  };

  apply();
  addEventListener("load", () => {
    for (const button of document.getElementsByClassName("theme-toggle")) {
      button.addEventListener("click", cycle);
    }
  });
}
