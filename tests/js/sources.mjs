/** The web app's own modules, and what their templates show. */

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../static/js/", import.meta.url));

/** Every module and its source, by its path below static/js. */
export function modules() {
  const names = readdirSync(ROOT, { recursive: true }).filter((name) => name.endsWith(".js"));
  return new Map(names.map((name) => [name, readFileSync(ROOT + name, "utf8")]));
}

/** The markup of all html`…` in a source, nested ones apart, with `\0` where a value is put in. */
export function templates(source) {
  const found = [];
  for (const match of source.matchAll(/\bhtml`/g)) {
    found.push(markupAt(source, match.index + match[0].length));
  }
  return found;
}

function markupAt(source, start) {
  let markup = "";
  for (let at = start; at < source.length; at++) {
    if (source[at] === "`") return markup;
    if (source.startsWith("${", at)) {
      at = endOfValue(source, at + 2);
      markup += "\0";
    } else {
      markup += source[at];
    }
  }
  throw new Error("a template without its end");
}

/** Where the value that begins at `start` has its closing brace. */
function endOfValue(source, start) {
  for (let at = start, depth = 1; at < source.length; at++) {
    if (source[at] === "`") at += rawLength(source, at + 1);
    else if (source[at] === '"' || source[at] === "'") at = source.indexOf(source[at], at + 1);
    else if (source[at] === "{") depth++;
    else if (source[at] === "}" && --depth === 0) return at;
  }
  throw new Error("a value without its end");
}

function rawLength(source, start) {
  let at = start;
  while (source[at] !== "`") {
    at = source.startsWith("${", at) ? endOfValue(source, at + 2) + 1 : at + 1;
  }
  return at - start + 1;
}

/** Words in markup that a user would see or hear. */
export function visibleWords(markup) {
  const seen = [];
  const withoutTags = markup.replace(/<[^>]*>/g, (tag) => {
    for (const [, name, value] of tag.matchAll(/([\w-]+)="([^"]*)"/g)) {
      if (/^(aria-label|title|placeholder|alt|label)$/.test(name)) seen.push(value);
    }
    return " ";
  });
  return [...seen, withoutTags].filter((text) => /\p{L}/u.test(text)).map((text) => text.trim());
}
