/**
 * Emphasis next to Chinese, Japanese and Korean punctuation. CommonMark asks for a space or
 * punctuation around `**` that touches punctuation, and these languages write no spaces: in
 * `**重点：**内容` it sees no emphasis. Here such marks do open and close.
 */

const CJK =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\u3000-\u303f\uff00-\uffef]/u;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const OPENING = /^(\*{1,2}|~~)(?![\s*~])/;

/** Extension of marked: what it returns false for, marked reads by its own rules. */
export const cjkEmphasis = {
  tokenizer: {
    /** @this {any} @param {string} src @param {string} masked @param {string} previous */
    emStrong(src, masked, previous) {
      const found = src.startsWith("*") && findEmphasis(src, masked, previous ?? "");
      if (!found) return false;
      const type = found.mark === "**" ? "strong" : "em";
      return { type, ...tokenOf(found, this.lexer) };
    },
    /** @this {any} @param {string} src @param {string} masked @param {string} previous */
    del(src, masked, previous) {
      const found = src.startsWith("~~") && findEmphasis(src, masked ?? src, previous ?? "");
      return found ? { type: "del", ...tokenOf(found, this.lexer) } : false;
    },
  },
};

/** @param {{raw: string, text: string}} found @param {any} lexer */
function tokenOf({ raw, text }, lexer) {
  return { raw, text, tokens: lexer.inlineTokens(text) };
}

/**
 * @param {string} src from the mark on
 * @param {string} masked the whole line, with links and code made unreadable; `src` is its end
 * @param {string} previous the character before `src`
 * @returns {{mark: string, raw: string, text: string}|null} emphasis that only CJK rules see
 */
export function findEmphasis(src, masked, previous) {
  const mark = OPENING.exec(src)?.[1];
  if (!mark) return null;
  const readable = masked.slice(-src.length);
  const end = findEnd(readable, mark);
  if (end < 0) return null;
  const text = src.slice(mark.length, end);
  const next = characterAt(src, end + mark.length);
  const opensBeforePunctuation = CJK.test(previous) && PUNCTUATION.test(characterAt(text, 0));
  const closesAfterPunctuation = CJK.test(next) && PUNCTUATION.test(characterBefore(text));
  if (!opensBeforePunctuation && !closesAfterPunctuation) return null;
  return { mark, raw: src.slice(0, end + mark.length), text };
}

/** @param {string} text @param {string} mark @returns {number} of the mark that closes, or -1 */
function findEnd(text, mark) {
  for (let at = mark.length; (at = text.indexOf(mark[0], at)) >= 0;) {
    let length = 1;
    while (text[at + length] === mark[0]) length += 1;
    const isEscaped = text[at - 1] === "\\";
    if (length === mark.length && !isEscaped && !/\s/.test(text[at - 1])) return at;
    at += length;
  }
  return -1;
}

/** @param {string} text @param {number} index @returns {string} whole, of two halves if need be */
function characterAt(text, index) {
  const point = text.codePointAt(index);
  return point === undefined ? "" : String.fromCodePoint(point);
}

/** @param {string} text @returns {string} its last character */
function characterBefore(text) {
  return [...text.slice(-2)].at(-1) ?? "";
}
