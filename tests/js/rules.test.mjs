import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.document = { documentElement: { lang: "zh-Hans" } };
const { hasTextFor, loadRule, t } = await import("../../static/js/i18n/i18n.js");

test("the text of a rule is loaded when a refusal names it", async () => {
  await loadRule();
  await loadRule({ rule: "required" });
  assert.ok(!hasTextFor("rule.no_default_model", {}));
  await loadRule({ rule: "no_default_model" });
  assert.equal(t("rule.no_default_model"), "未设置默认模型：请指定一个。");
});
