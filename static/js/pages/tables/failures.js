/** Why an import or export has failed. */

import { isKey, language, t } from "../../i18n/i18n.js";
import { errorText } from "../../ui/notice.js";

/** In English the server's sentence, which knows more, such as the line.
 * @param {{reason: string, message: string, params: Record<string, string|number>|null,
 *   bad_rows?: number}} failed @returns {string} */
export function failureText({ reason, message, params, bad_rows = 0 }) {
  if (language === "en" && message) return message;
  if (reason === "bad_rows") return t("tables.bad_rows", { count: bad_rows });
  const key = `tables.failed.${reason}`;
  return isKey(key) ? t(key) : errorText({ code: reason, message, params: params ?? {} });
}
