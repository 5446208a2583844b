/** Cells as the text that spreadsheets exchange: tabs between cells, lines between rows, and quotes
 * around what has either of them. */

/** @param {string[][]} rows @returns {string} */
export function toTsv(rows) {
  return rows.map((cells) => cells.map(quoted).join("\t")).join("\n");
}

/** @param {string} text */
function quoted(text) {
  return /[\t\n\r"]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {string} text @returns {string[][]} */
export function fromTsv(text) {
  const rows = [[""]];
  let at = 0;
  while (at < text.length) {
    const row = rows[rows.length - 1];
    const cell = row[row.length - 1];
    const character = text[at];
    if (character === '"' && cell === "") {
      const end = endOfQuotes(text, at + 1);
      if (end !== -1) {
        row[row.length - 1] = text.slice(at + 1, end).replaceAll('""', '"');
        at = end + 1;
        continue;
      }
    }
    if (character === "\t") row.push("");
    else if (character === "\n") rows.push([""]);
    else if (character !== "\r") row[row.length - 1] += character;
    at++;
  }
  const last = rows[rows.length - 1];
  if (rows.length > 1 && last.length === 1 && last[0] === "") rows.pop();
  return rows;
}

/** @param {string} text @param {number} start @returns {number} -1: it is no quoted cell */
function endOfQuotes(text, start) {
  for (let at = start; at < text.length; at++) {
    if (text[at] !== '"') continue;
    if (text[at + 1] === '"') at++;
    else return /[\t\r\n]/.test(text[at + 1] ?? "\n") ? at : -1;
  }
  return -1;
}
