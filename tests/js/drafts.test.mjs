import assert from "node:assert/strict";
import { test } from "node:test";

import { Drafts } from "../../static/js/store/drafts.js";

function storage(capacity = Infinity) {
  const items = new Map();
  return {
    items,
    getItem: (name) => items.get(name) ?? null,
    removeItem: (name) => items.delete(name),
    setItem(name, value) {
      if (value.length > capacity) throw new Error("QuotaExceededError");
      items.set(name, value);
    },
  };
}

test("a draft is there again, for its place and its user", () => {
  const shared = storage();
  new Drafts(1, shared).write("c/7", "half a thought");
  assert.equal(new Drafts(1, shared).read("c/7"), "half a thought");
  assert.equal(new Drafts(1, shared).read("c/8"), "");
  assert.equal(new Drafts(2, shared).read("c/7"), "");
});

test("an empty draft leaves nothing behind", () => {
  const shared = storage();
  const drafts = new Drafts(1, shared);
  drafts.write("c/7", "sent");
  drafts.write("c/7", "");
  assert.equal(shared.items.size, 0);
});

test("a full storage is no error", () => {
  new Drafts(1, storage(3)).write("c/7", "too long");
});
