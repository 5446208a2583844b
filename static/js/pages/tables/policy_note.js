/** Why the policy of an AI field fills no further cells. */

import { language } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { detail, explain } from "../../ui/notice.js";

/**
 * @import { AiField } from "./types.d.ts"
 */

/** @param {AiField|null} ai */
export function policyNote(ai) {
  if (!ai?.note) return nothing;
  const failure = { code: ai.note_code, message: ai.note, params: ai.note_params };
  const exact = detail(failure);
  const text = exact.language === language ? exact.text : explain(failure).help;
  return html`<p class="form-error">${text}</p>`;
}
