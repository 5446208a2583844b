/** What an error code means to the person in front of the page. */

import { h } from "./dom.js";

const MEANINGS = {
  network: ["No connection", "The server cannot be reached. Check your connection and try again."],
  unauthenticated: ["You are logged out", "Log in again to go on."],
  forbidden: ["Not allowed", "Your account may not do this."],
  not_found: ["Not found", "This does not exist, or it is not yours."],
  too_large: ["Too long", "The text is longer than the server accepts. Shorten it and try again."],
  conversation_busy: [
    "Still answering",
    "This chat answers one message at a time. Wait, or stop the running answer.",
  ],
  conflict: [
    "Asked again already",
    "This question was asked again elsewhere, such as in another tab.",
  ],
  unavailable: ["Temporarily unavailable", "A part of the service is away. Try again in a moment."],
  provider_auth: ["The provider refused the key", "An administrator has to check the API key."],
  provider_balance: ["The provider account is empty", "An administrator has to top it up."],
  provider_model_not_found: ["Unknown model", "The provider does not offer this model."],
  provider_bad_request: ["The provider refused the request", "Change the input and try again."],
  provider_rate_limited: [
    "The provider is busy",
    "It takes no more requests right now. Try again in a moment.",
  ],
  provider_overloaded: ["The provider is overloaded", "Try again in a moment."],
  provider_forbidden_address: [
    "The provider's address is not allowed",
    "An administrator has to check the provider.",
  ],
  provider_unreachable: ["The provider cannot be reached", "Try again in a moment."],
  provider_truncated: [
    "The answer broke off",
    "The provider's connection ended before the answer did.",
  ],
  provider_invalid_response: [
    "Unreadable answer",
    "The provider sent something that is not an answer.",
  ],
  provider_empty: ["Empty answer", "The provider ended without saying anything."],
};
const TIMED_OUT = [
  "The provider took too long",
  "No answer came within the time limit. Try again.",
];
const UNKNOWN = [
  "Something went wrong",
  "Try again. If it keeps happening, tell an administrator the code below.",
];

/**
 * @param {{code?: string, message?: string}} error
 * @returns {{title: string, help: string}}
 */
export function explain(error) {
  const known = error.code?.startsWith("provider_timeout") ? TIMED_OUT : MEANINGS[error.code];
  const [title, help] = known ?? [UNKNOWN[0], error.message || UNKNOWN[1]];
  return { title, help };
}

/** @param {{code?: string, message?: string}} error @returns {HTMLElement} */
export function createNotice(error) {
  const { title, help } = explain(error);
  const code = error.code && h("code", {}, error.code);
  return h(
    "div",
    { class: "notice", role: "alert" },
    h("strong", {}, title),
    h("p", {}, help),
    code,
  );
}
