/** The REST interface: JSON, and RFC 9457 problems as errors. */

import { parseExactly, stringify } from "./json.js";

/**
 * @typedef {object} FieldError
 * @property {string} field
 * @property {string} message
 * @property {Record<string, string|number>} [params]
 */

/** A refused request: `code` for programs, `message` for people, `field` names the bad input,
 * `params` are for a text in another language. */
export class ApiError extends Error {
  /**
   * @param {object} error
   * @param {string} error.code
   * @param {string} [error.message]
   * @param {string} [error.field]
   * @param {Record<string, string|number>} [error.params]
   * @param {FieldError[]} [error.errors] of each wrong field
   * @param {number} [error.status] of the HTTP answer
   * @param {number} [error.retry_after_seconds] when the same request may be accepted
   */
  constructor({ code, message, field, params, errors, status, retry_after_seconds }) {
    super(message ?? "");
    this.name = "ApiError";
    this.code = code;
    this.field = field;
    this.params = params;
    this.errors = errors;
    this.status = status;
    this.retryAfterSeconds = retry_after_seconds;
  }
}

/**
 * @typedef {object} Call
 * @property {object|Blob} [body] sent as JSON, a Blob or FormData as it is
 * @property {Record<string, string>} [headers]
 * @property {boolean} [outlivesPage] sent although the page is left, if the body is small
 */

/** Browsers send no more than 64 KiB for pages that are left. */
const MAX_OUTLIVING_CHARS = 20_000;

export class Api {
  #base;
  #headers;
  #onUnauthenticated;

  /**
   * @param {string} base such as "https://aily.example/api"
   * @param {(method: string) => Record<string, string>} headers of each request
   * @param {() => void} [onUnauthenticated]
   */
  constructor(base, headers, onUnauthenticated = () => {}) {
    this.#base = base;
    this.#headers = headers;
    this.#onUnauthenticated = onUnauthenticated;
  }

  /**
   * @param {string} method
   * @param {string} path below the base, such as "/scenes"
   * @param {Call} [call]
   * @returns {Promise<any>} the decoded answer, null for an empty one
   * @throws {ApiError} also when the server cannot be reached (code "network")
   */
  async request(method, path, call) {
    const response = await this.send(method, path, call);
    const payload = response.status === 204 ? null : await response.json().catch(() => null);
    if (response.ok) return payload;
    throw refusal(response, payload);
  }

  /**
   * `request` with exact integers, and with the ETag of what is read; with one, it writes nothing
   * that was changed since (code "precondition_failed").
   *
   * @param {string} method @param {string} path
   * @param {{body?: object, etag?: string}} [options]
   * @returns {Promise<{data: any, etag: string}>}
   * @throws {ApiError}
   */
  async exchange(method, path, { body, etag } = {}) {
    const headers = etag ? { "If-Match": etag } : undefined;
    const response = await this.send(method, path, { body, headers });
    const text = await response.text();
    if (!response.ok) throw refusal(response, parsed(text));
    return { data: text ? parseExactly(text) : null, etag: response.headers.get("ETag") ?? "" };
  }

  /**
   * The answer as it comes, also a refusal.
   *
   * @param {string} method @param {string} path @param {Call} [call]
   * @throws {ApiError} when the server cannot be reached
   */
  async send(method, path, { body, headers, outlivesPage = false } = {}) {
    const isRaw = body instanceof Blob || body instanceof FormData;
    /** @type {Record<string, string>} */
    const type = body === undefined || isRaw ? {} : { "Content-Type": "application/json" };
    const content = body === undefined || isRaw ? body : stringify(body);
    const isSmall = typeof content === "string" && content.length <= MAX_OUTLIVING_CHARS;
    let response;
    try {
      response = await fetch(this.#base + path, {
        method,
        headers: { Accept: "application/json", ...type, ...this.#headers(method), ...headers },
        body: content,
        credentials: "same-origin",
        keepalive: outlivesPage && isSmall,
      });
    } catch {
      throw new ApiError({ code: "network" });
    }
    if (response.status === 401) this.#onUnauthenticated();
    return response;
  }
}

/** @param {any} error @returns {boolean} the same request may succeed later */
export function isPassing({ code, status }) {
  return code === "network" || status === 429 || status >= 500;
}

/** @param {string} text @returns {any} null for what is no JSON, as proxies send */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {Response} response @param {any} payload a problem document, or anything else */
export function refusal(response, payload) {
  const retryAfter = Number(response.headers.get("Retry-After") ?? NaN);
  return new ApiError({
    status: response.status,
    code: payload?.code ?? "http_error",
    message: payload?.detail ?? payload?.title ?? "",
    field: payload?.errors?.[0]?.field,
    params: payload?.params,
    errors: payload?.errors,
    retry_after_seconds: Number.isNaN(retryAfter) ? undefined : retryAfter,
  });
}
