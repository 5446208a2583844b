/** The REST interface for the page's session: with Django's CSRF token, and the login page. */

import { Api } from "../client/api.js";
import { loadRule } from "../i18n/i18n.js";

export { ApiError } from "../client/api.js";

/** Refusals come with the text of their rule loaded: pages show them at once. */
class PageApi extends Api {
  /** @override @type {Api["request"]} */
  request(method, path, call) {
    return withRule(super.request(method, path, call));
  }

  /** @override @type {Api["exchange"]} */
  exchange(method, path, options) {
    return withRule(super.exchange(method, path, options));
  }
}

export const api = new PageApi("/api", sessionHeaders, goToLogin);

/** @template T @param {Promise<T>} answer @returns {Promise<T>} */
async function withRule(answer) {
  try {
    return await answer;
  } catch (error) {
    await loadRule(/** @type {any} */ (error).params);
    throw error;
  }
}

/**
 * @param {string} method
 * @param {string} path below /api, such as "/scenes"
 * @param {object} [body] sent as JSON
 * @returns {Promise<any>} see `Api.request`
 */
export function request(method, path, body) {
  return api.request(method, path, { body });
}

/**
 * @param {string} method @param {string} path
 * @param {{body?: object, etag?: string}} [options]
 * @returns {Promise<{data: any, etag: string}>} see `Api.exchange`
 */
export function exchange(method, path, options) {
  return api.exchange(method, path, options);
}

/** @param {string} method @returns {Record<string, string>} */
function sessionHeaders(method) {
  return method === "GET" ? {} : { "X-CSRFToken": csrfToken() };
}

/** Read anew each time: logging in from another tab changes it. */
function csrfToken() {
  return document.cookie.match(/(?:^|;\s*)csrftoken=([^;]+)/)?.[1] ?? "";
}

/** Leave for the login page, and come back to this very place. */
export function goToLogin() {
  const here = location.pathname + location.hash;
  location.assign(`/login/?next=${encodeURIComponent(here)}`);
}
