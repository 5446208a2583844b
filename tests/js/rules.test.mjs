import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.document = {
  documentElement: { lang: "zh-Hans" },
  // For lit-html, which renders nothing here.
  createTreeWalker: () => ({}),
  createComment: () => ({}),
};
const { hasTextFor, loadRule, t } = await import("../../static/js/i18n/i18n.js");
const { explain } = await import("../../static/js/ui/notice.js");

test("the text of a rule is loaded when a refusal names it", async () => {
  await loadRule();
  await loadRule({ rule: "required" });
  assert.ok(!hasTextFor("rule.no_default_model", {}));
  await loadRule({ rule: "no_default_model" });
  assert.equal(t("rule.no_default_model"), "未设置默认模型：请指定一个。");
});

test("what is not there or not allowed is said by its rule, where there is one", async () => {
  const params = { rule: "no_such_row", id: "7" };
  await loadRule(params);
  const missing = { code: "not_found", message: "There is no row 7.", params };
  assert.deepEqual(explain(missing), { title: "未找到", help: "没有第 7 号行。" });
  assert.equal(explain({ code: "not_found", message: "x" }).help, "内容不存在，或不属于您。");
});
