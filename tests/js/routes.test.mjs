import assert from "node:assert/strict";
import { test } from "node:test";

import { href, parseRoute } from "../../static/js/shell/routes.js";

test("every address leads back to its page", () => {
  for (
    const route of [
      { name: "chat", id: null },
      { name: "chat", id: "0198c0de-7a11-7000-8000-0123456789ab" },
      { name: "scene", id: "summarize" },
      { name: "workshop", id: "summarize" },
      { name: "runs", id: null },
      { name: "runs", id: "0198c0de-7a11-7000-8000-0123456789ab" },
      { name: "tables", id: null },
      { name: "tables", id: "12" },
      { name: "tables", id: "12/34" },
      { name: "settings", id: null },
    ]
  ) assert.deepEqual(parseRoute(href(route)), route);
});

test("anything unknown is a new chat", () => {
  for (
    const hash of [
      "",
      "#",
      "#/x/1",
      "#/c/",
      "#/s/",
      "#/c/a/b",
      "#/settings/x",
      "#/c/<b>",
      "#/runs/",
      "#/runs/a/b",
      "#/tables/x",
      "#/tables/1/",
      "#/tables/1/2/3",
    ]
  ) {
    assert.deepEqual(parseRoute(hash), { name: "chat", id: null }, hash);
  }
});
