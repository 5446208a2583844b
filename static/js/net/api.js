/** The REST interface, with Django's CSRF token and RFC 9457 problems as errors. */

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
  if (response.status === 401) goToLogin();
  const payload = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return payload;
  throw new ApiError({
    status: response.status,
    code: payload?.code ?? "http_error",
    message: payload?.detail ?? payload?.title ?? "",
    field: payload?.errors?.[0]?.field,
  });
}

/** @param {string} method @param {string} path @param {object} [body] */
async function send(method, path, body) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(`/api${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new ApiError({ code: "network", message: "" });
  }
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
