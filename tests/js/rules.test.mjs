import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.document = {
  documentElement: { lang: "zh-Hans" },
  // For lit-html, which renders nothing here.
  createTreeWalker: () => ({}),
  createComment: () => ({}),
};
const { hasTextFor, loadRule, loadTexts, t } = await import("../../static/js/i18n/i18n.js");
const { detail, explain } = await import("../../static/js/ui/notice.js");

test("the text of a rule is loaded when a refusal names it", async () => {
  await loadRule();
  await loadRule({});
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

test("each wrong field of a request is named with what is wrong with it", async () => {
  const errors = [
    { field: "name", message: "Field required", params: { rule: "required" } },
    { field: "rows.0.n", message: "x", params: { rule: "type", limit: "integer, string" } },
    { field: "odd", message: "Value error" },
  ];
  await loadRule(errors[0].params);
  const refusal = { code: "invalid_request", params: errors[0].params, errors };
  const help = "名称：此项缺失。rows.0.n：类型必须是：整数、文本。odd：Value error";
  assert.equal(explain(refusal).help, help);
});

test("names of the API among the parameters are in the page's language", async () => {
  await loadRule({ rule: "permission" });
  await loadTexts("tables");
  const said = (rule, params) => detail({ code: "x", params: { rule, ...params } }).text;
  const permission = "chat.change_scene";
  assert.equal(said("permission", { permission }), `需要权限：修改场景（${permission}）。`);
  assert.equal(said("permission", { permission: "x.new_thing" }), "需要权限：x.new_thing。");
  assert.equal(said("table_permission", { permission: "edit" }), "需要对该表格的编辑权限。");
  assert.equal(said("not_sortable", { kind: "json" }), "JSON 数据类型的值不能排序。");
});
