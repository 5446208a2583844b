import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import mainEn from "../../static/js/i18n/en.js";
import { formatDateTime, hasTextFor, isKey, loadTexts, t } from "../../static/js/i18n/i18n.js";
import reasonsEn from "../../static/js/i18n/reasons/en.js";
import reasonsZh from "../../static/js/i18n/reasons/zh-hans.js";
import tablesEn from "../../static/js/i18n/tables/en.js";
import tablesZh from "../../static/js/i18n/tables/zh-hans.js";
import mainZh from "../../static/js/i18n/zh-hans.js";
import { modules, templates, visibleWords } from "./sources.mjs";

await loadTexts("tables");
await loadTexts("reasons");
const en = { ...mainEn, ...tablesEn, ...reasonsEn };
const zh = { ...mainZh, ...tablesZh, ...reasonsZh };
const sources = [...modules()]
  .filter(([name]) => !/^i18n\/((tables|reasons)\/)?(en|zh-hans)\.js$/.test(name))
  .map(([name, source]) => [name, source.replace(/\/\*[^]*?\*\//g, "")]);
const formsOf = (entry) => (typeof entry === "string" ? [entry] : Object.values(entry));
const namesIn = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

test("both catalogues have the same keys, with the same names to fill in", () => {
  assert.deepEqual(Object.keys(zh), Object.keys(en));
  for (const [key, entry] of Object.entries(en)) {
    const expected = namesIn(formsOf(entry).at(-1));
    for (const form of [...formsOf(entry), ...formsOf(zh[key])]) {
      assert.deepEqual(namesIn(form), expected, key);
    }
  }
});

test("both catalogues have the plural forms that their languages have", () => {
  for (const [language, catalogue] of [["en", en], ["zh-Hans", zh]]) {
    const { pluralCategories } = new Intl.PluralRules(language).resolvedOptions();
    for (const [key, entry] of Object.entries(catalogue)) {
      if (typeof entry === "string") continue;
      assert.deepEqual(Object.keys(entry).sort(), [...pluralCategories].sort(), key);
    }
  }
});

test("the Chinese texts are Chinese", () => {
  const same = [
    "app.title",
    "toast.text",
    "sidebar.hint",
    "tables.state_count",
    "error.of_field",
    "permission.text",
    "list.comma",
    "error.invalid_form.help",
    "error.invalid_request.help",
    "error.invalid_variable.help",
    "error.invalid_value.help",
    "error.tool_server_failed.help",
    "error.table_full.help",
  ];
  for (const [key, entry] of Object.entries(zh)) {
    if (same.includes(key)) continue;
    for (const form of formsOf(entry)) assert.match(form, /\p{Script=Han}/u, key);
  }
});

test("every key that is used exists, and every key is used", () => {
  const used = new Set();
  const sections = new Set(Object.keys(en).map((key) => key.split(".")[0]));
  for (const [name, source] of sources) {
    for (const [, key] of source.matchAll(/["`]([a-z]+\.[a-z_]+(?:\.[a-z_]+)*)["`]/g)) {
      if (!sections.has(key.split(".")[0])) continue;
      assert.ok(isKey(key), `${name}: ${key}`);
      used.add(key);
    }
    // Those that are put together: what comes before the value that is filled in.
    for (const [, start] of source.matchAll(/`([a-z]+[._][\w.]*?)\$\{/g)) {
      for (const key of Object.keys(en)) if (key.startsWith(start)) used.add(key);
    }
  }
  assert.deepEqual(Object.keys(en).filter((key) => !used.has(key)), []);
});

test("no template has words of its own", () => {
  let count = 0;
  for (const [name, source] of sources) {
    for (const markup of templates(source)) {
      count++;
      assert.deepEqual(visibleWords(markup), [], name);
    }
  }
  assert.ok(count > 30);
});

test("words in a template would be found", () => {
  const markup = templates('html`<p title="Hi">${x ? html`<b>Yes</b>` : "}"} now</p>`');
  assert.deepEqual(markup.map(visibleWords), [["Hi", "\0 now"], ["Yes"]]);
});

test("no module writes words into an element by itself", () => {
  const writes = [
    /\.(?:textContent|innerText|title|placeholder|ariaLabel) = ["'`][^"'`]*\p{L}/u,
    /setAttribute\("(?:aria-label|title|placeholder)", ["'`]/,
    /setText\([^,()]+, ["'`][^"'`]*\p{L}/u,
    /announce\(["'`]/,
    /\blabel(?:\.textContent)? = ["'`]\p{L}/u,
  ];
  for (const [name, source] of sources) {
    for (const write of writes) assert.doesNotMatch(source, write, name);
  }
});

test("every error code of the protocol has a text", () => {
  const protocol = readFileSync(new URL("../../chat/PROTOCOL.md", import.meta.url), "utf8");
  const errors = protocol.slice(protocol.indexOf("## Errors of requests"));
  const codes = [...errors.matchAll(/^\| `([a-z_]+)` \|/gm)].map(([, code]) => code);
  assert.ok(codes.length > 30);
  for (const code of codes) {
    const name = code.startsWith("provider_timeout") ? "provider_timeout" : code;
    assert.ok(isKey(`error.${name}.title`) && isKey(`error.${name}.help`), code);
  }
});

test("texts are filled in, counted and written as the language does", () => {
  assert.equal(t("answer.tokens", { count: 1 }), "1 token");
  assert.equal(t("answer.tokens", { count: 1234 }), "1,234 tokens");
  assert.equal(t("app.title", { title: "$& {help}" }), "$& {help} · aily");
  assert.match(formatDateTime("2026-01-31T12:00:00Z"), /2026/);
});

test("a text is used if all that it needs is known", () => {
  assert.ok(hasTextFor("rule.bad_rows", { count: 3 }));
  assert.ok(hasTextFor("detail.no_file", {}));
  assert.ok(!hasTextFor("rule.bad_rows", {}), "a row of an earlier version");
  assert.ok(!hasTextFor("rule.unheard_of", { count: 3 }));
});
