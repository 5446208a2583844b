/**
 * Shows a Markdown text that grows.
 *
 * Blocks that can change no more are finished: they are neither read nor built again, so a text costs
 * its length and not the square of it, and a selection in an earlier block survives. Only the last
 * two blocks may still change: a list goes on after a blank line with what looked like a paragraph.
 */

import { finishBlock, lex, renderBlock } from "./blocks.js";

/**
 * @import { Links, Token } from "../../../tests/js/types/marked.d.ts"
 * @import { Block } from "./types.d.ts"
 * @typedef {{token: Token, end: number}} Placed a block, and where it ends in what was read
 */

/** Of a text that is there already, so many characters are read at a time. */
const SLICE_CHARS = 4000;
const UNFINISHED_BLOCKS = 2;
/** An unfinished end longer than this is built anew only when it has grown by a quarter. */
const LARGE_CHARS = 5000;
const LARGE_GROWTH = 1.25;

export class MarkdownView {
  #container;
  #text = "";
  /** Characters, and blocks, that are finished. */
  #finishedChars = 0;
  #finishedBlocks = 0;
  /** @type {Links} */
  #links = Object.create(null);
  /** Links that were defined after finished blocks, which may use them. */
  #hasLateLinks = false;
  /** Blocks are gone through once more, for such links. */
  #isRelinking = false;
  /** Length of the unfinished end when it was built last. */
  #builtChars = 0;
  #openCode = new OpenCode();

  /** @param {HTMLElement} container holds nothing else */
  constructor(container) {
    this.#container = container;
  }

  /**
   * Show `text`, or a part of what is new of it.
   *
   * @param {string} text
   * @param {boolean} isWhole nothing will be added to it
   * @param {number} deadline of performance.now(), after which the rest is left to another call
   * @returns {boolean} true when all of it is shown
   */
  show(text, isWhole, deadline) {
    const next = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    if (!next.startsWith(this.#text)) this.#replaced(next);
    this.#text = next;
    if (!isWhole && this.#openCode.append(next)) return true;
    if (!isWhole && this.#isHardlyMore()) return this.#appendRest();
    this.#openCode.close();
    if (!this.#build(isWhole, deadline)) return false;
    if (!isWhole || !this.#hasLateLinks) return true;
    // Once more from the start, now with all links.
    this.#restart();
    this.#isRelinking = true;
    return this.#build(isWhole, deadline);
  }

  /** @param {boolean} isWhole @param {number} deadline @returns {boolean} */
  #build(isWhole, deadline) {
    let size = SLICE_CHARS;
    for (;;) {
      const end = this.#finishedChars + size;
      const isLast = end >= this.#text.length;
      const before = this.#finishedChars;
      this.#buildSlice(this.#text.slice(before, end), isLast, isLast && isWhole);
      if (isLast) return true;
      // One block is longer than the slice: read more at a time.
      size = this.#finishedChars === before ? size * 2 : SLICE_CHARS;
      if (performance.now() >= deadline) return false;
    }
  }

  /**
   * @param {string} slice @param {boolean} isLast of the text so far
   * @param {boolean} isWhole nothing will follow
   */
  #buildSlice(slice, isLast, isWhole) {
    // Definitions that may still grow must not count when more has come.
    const tokens = lex(slice, Object.assign(Object.create(null), this.#links));
    const blocks = placed(tokens);
    const finished = isWhole ? blocks.length : Math.max(0, blocks.length - UNFINISHED_BLOCKS);
    const finishedEnd = isWhole ? slice.length : blocks[finished - 1]?.end ?? 0;
    const hasDefinitions = this.#keepLinks(tokens, finishedEnd);
    // What a slice cuts in two is not shown yet.
    const shown = isLast ? blocks : blocks.slice(0, finished);
    shown.forEach(({ token }, index) => {
      const block = this.#showBlock(token, this.#finishedBlocks + index, hasDefinitions);
      if (index < finished) finishBlock(block);
    });
    if (isLast) {
      this.#removeFrom(this.#finishedBlocks + blocks.length);
      const last = blocks.at(-1);
      if (last && !isWhole) {
        this.#openCode.open(this.#lastBlock(), last.token, this.#text.length);
      }
    }
    this.#finishedBlocks += finished;
    this.#finishedChars += finishedEnd;
    this.#builtChars = this.#text.length - this.#finishedChars;
  }

  /**
   * Keep the definitions before `finishedEnd`, for all that follows.
   *
   * @param {Token[]} tokens @param {number} finishedEnd @returns {boolean} whether there are any
   */
  #keepLinks(tokens, finishedEnd) {
    const definitions = tokens.filter(({ type }) => type === "def");
    let end = 0;
    for (const token of tokens) {
      end += token.raw.length;
      const { tag, href, title } = token;
      if (token.type !== "def" || !tag || !href || end > finishedEnd || this.#links[tag]) continue;
      this.#links[tag] = { href, title };
      if (this.#finishedBlocks > 0) this.#hasLateLinks = true;
    }
    return definitions.length > 0;
  }

  /** @param {Token} token @param {number} index @param {boolean} hasDefinitions @returns {Block} */
  #showBlock(token, index, hasDefinitions) {
    const block = /** @type {Block|undefined} */ (this.#container.children[index]);
    const isSame = block?.source === token.raw;
    const hasOtherLinks = (hasDefinitions || this.#isRelinking) && token.raw.includes("[");
    if (block && isSame && !hasOtherLinks) return block;
    const fresh = renderBlock(token);
    if (block) block.replaceWith(fresh);
    else this.#container.append(fresh);
    return fresh;
  }

  #lastBlock() {
    return /** @type {Block|null} */ (this.#container.lastElementChild);
  }

  #isHardlyMore() {
    const unfinished = this.#text.length - this.#finishedChars;
    return this.#builtChars > LARGE_CHARS && unfinished > this.#builtChars &&
      unfinished < this.#builtChars * LARGE_GROWTH;
  }

  /** Put what is new behind a large block as plain text, until the block is built again. */
  #appendRest() {
    const rest = this.#text.slice(this.#finishedChars + this.#builtChars);
    let element = this.#lastBlock();
    if (!element?.classList.contains("md-rest")) {
      element = /** @type {Block} */ (document.createElement("div"));
      element.className = "md-block md-plain md-rest";
      element.dir = "auto";
      element.append("");
      this.#container.append(element);
    }
    const node = /** @type {Text} */ (element.firstChild);
    node.appendData(rest.slice(node.length));
    return true;
  }

  /** @param {number} count of blocks that stay */
  #removeFrom(count) {
    while (this.#container.children.length > count) this.#container.lastElementChild?.remove();
  }

  /** The text did not only grow: another attempt began. @param {string} next */
  #replaced(next) {
    this.#openCode.close();
    this.#builtChars = 0;
    if (next.startsWith(this.#text.slice(0, this.#finishedChars))) return;
    this.#links = Object.create(null);
    this.#isRelinking = false;
    this.#restart();
  }

  #restart() {
    this.#finishedChars = 0;
    this.#finishedBlocks = 0;
    this.#builtChars = 0;
    this.#hasLateLinks = false;
  }
}

/** @param {Token[]} tokens @returns {Placed[]} the blocks; blank lines and definitions show nothing */
function placed(tokens) {
  const blocks = [];
  let end = 0;
  for (const token of tokens) {
    end += token.raw.length;
    if (token.type !== "space" && token.type !== "def") blocks.push({ token, end });
  }
  return blocks;
}

/** Code whose end has not come yet: the lines that come are added to its text. */
class OpenCode {
  /** @type {Text|null} */
  #node = null;
  #fence = "";
  /** Where the last line that was looked at begins, and how much of the text is in the node. */
  #lineStart = 0;
  #shownChars = 0;

  /**
   * @param {Block|null} block that shows the text's last token
   * @param {Token} token @param {number} textLength
   */
  open(block, token, textLength) {
    const [head, fence] = /^(`{3,}|~{3,})[^\n]*\n/.exec(token.raw) ?? [];
    const element = block?.querySelector("pre > code");
    if (token.type !== "code" || !head || !fence || !element) return;
    const content = token.raw.slice(head.length);
    if (closes(content, fence)) return;
    element.textContent = content;
    if (!element.firstChild) element.append("");
    this.#node = /** @type {Text} */ (element.firstChild);
    this.#fence = fence;
    this.#shownChars = textLength;
    this.#lineStart = textLength - (content.length - (content.lastIndexOf("\n") + 1));
  }

  /** @param {string} text @returns {boolean} false when there is no such code, or it has ended */
  append(text) {
    if (!this.#node || text.length < this.#shownChars) return false;
    if (closes(text.slice(this.#lineStart), this.#fence)) return false;
    this.#node.appendData(text.slice(this.#shownChars));
    this.#shownChars = text.length;
    this.#lineStart = text.lastIndexOf("\n") + 1;
    return true;
  }

  close() {
    this.#node = null;
  }
}

/** @param {string} lines @param {string} fence @returns {boolean} one of them closes it */
function closes(lines, fence) {
  return new RegExp(`^ {0,3}${fence}${fence[0]}*[ \\t]*$`, "m").test(lines);
}
