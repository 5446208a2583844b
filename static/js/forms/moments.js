/** Points in time: RFC 3339 in values, the browser's own form in inputs. */

/**
 * @param {string|undefined} format @param {string} value @returns {string} what the input takes
 */
export function toInput(format, value) {
  if (format === "time") return value.replace(/(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?$/i, "");
  if (format !== "date-time") return value;
  const time = new Date(value);
  if (Number.isNaN(time.valueOf())) return "";
  const local = new Date(time.valueOf() - time.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

/**
 * @param {string|undefined} format @param {string} text of the input
 * @returns {string} with the reader's own offset from UTC where a format asks for one
 */
export function fromInput(format, text) {
  if (format === "date-time") return withSeconds(text) + offsetOf(new Date(text));
  if (format === "time") return withSeconds(text) + offsetOf(new Date());
  return text;
}

/** Inputs leave seconds out where they are zero. @param {string} text */
function withSeconds(text) {
  return /(?:^|T)\d\d:\d\d$/.test(text) ? `${text}:00` : text;
}

/** @param {Date} time @returns {string} such as "+08:00" */
function offsetOf(time) {
  const minutes = -time.getTimezoneOffset();
  if (!minutes) return "Z";
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}
