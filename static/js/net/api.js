/** The REST interface, with Django's CSRF token and RFC 9457 problems as errors. */

import { parseExactly, stringify } from "./json.js";

/** A refused request: `code` for programs, `message` for people, `field` names the bad input. */
export class ApiError extends Error {
  /** @param {{code: string, message: string, field?: string, status?: number}} error */
  constructor({ code, message, field, status }) {
    super(message);
    this.code = code;
    this.field = field;
    this.status = status;
  }
}

/**
 * @param {string} method
 * @param {string} path below /api, such as "/scenes"
 * @param {object} [body] sent as JSON
 * @returns {Promise<any>} the decoded answer, null for an empty one
 * @throws {ApiError} also when the server cannot be reached (code "network")
 */
export async function request(method, path, body) {
  const response = await send(method, path, body);
  const payload = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return payload;
  throw refusal(response.status, payload);
}

/**
 * `request` with exact integers, and with the ETag of what is read; with one, it writes nothing that
 * was changed since (code "precondition_failed").
 *
 * @param {string} method @param {string} path
 * @param {{body?: object, etag?: string}} [options]
 * @returns {Promise<{data: any, etag: string}>}
 * @throws {ApiError}
 */
export async function exchange(method, path, { body, etag } = {}) {
  const response = await send(method, path, body, etag ? { "If-Match": etag } : {});
  const text = await response.text();
  if (!response.ok) throw refusal(response.status, parsed(text));
  return { data: text ? parseExactly(text) : null, etag: response.headers.get("ETag") ?? "" };
}

/** @param {string} text @returns {any} null for what is no JSON, as proxies send */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {number} status @param {any} payload */
function refusal(status, payload) {
  return new ApiError({
    status,
    code: payload?.code ?? "http_error",
    message: payload?.detail ?? payload?.title ?? "",
    field: payload?.errors?.[0]?.field,
  });
}

/**
 * @param {string} method @param {string} path @param {object} [body]
 * @param {Record<string, string>} [more] headers
 */
async function send(method, path, body, more = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", ...more };
  if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new ApiError({ code: "network", message: "" });
  }
  if (response.status === 401) goToLogin();
  return response;
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
