/** The REST interface for the page's session: with Django's CSRF token, and the login page. */

import { Api } from "../client/api.js";

export { ApiError } from "../client/api.js";

export const api = new Api("/api", sessionHeaders, goToLogin);

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
