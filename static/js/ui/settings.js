/** The user's language and theme: cookies, so that the server renders its pages with them, before
 * the first paint. */

const YEAR_SECONDS = 31_536_000;
/** Django's own; its LocaleMiddleware reads it. */
const LANGUAGE_COOKIE = "django_language";
const THEME_COOKIE = "theme";
const THEME_COLORS = { light: "#fbfaf8", dark: "#161715" };

/** @typedef {"system"|"light"|"dark"} Theme */

/** @param {string} name @returns {string} empty without one */
function readCookie(name) {
  const pair = document.cookie.split("; ").find((cookie) => cookie.startsWith(`${name}=`));
  return pair?.slice(name.length + 1) ?? "";
}

/** @param {string} name @param {string} value empty: forget it */
function writeCookie(name, value) {
  const age = value ? YEAR_SECONDS : 0;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${value}; Path=/; Max-Age=${age}; SameSite=Lax${secure}`;
}

/** @returns {string} empty: as the browser asks for */
export function chosenLanguage() {
  return readCookie(LANGUAGE_COOKIE);
}

/** The server chooses the page's language, so it is loaded again. @param {string} language */
export function chooseLanguage(language) {
  writeCookie(LANGUAGE_COOKIE, language);
  location.reload();
}

/** @returns {Theme} */
export function chosenTheme() {
  const theme = readCookie(THEME_COOKIE);
  return theme === "light" || theme === "dark" ? theme : "system";
}

/** @param {Theme} theme */
export function chooseTheme(theme) {
  writeCookie(THEME_COOKIE, theme === "system" ? "" : theme);
  document.documentElement.dataset.theme = theme;
  for (const scheme of /** @type {const} */ (["light", "dark"])) {
    const shown = theme === "system" ? scheme : theme;
    const selector = `meta[name="theme-color"][media*="${scheme}"]`;
    document.querySelector(selector)?.setAttribute("content", THEME_COLORS[shown]);
  }
}
