import assert from "node:assert/strict";
import { test } from "node:test";

import { cjkEmphasis } from "../../static/js/markdown/cjk_emphasis.js";
import { mathSyntax } from "../../static/js/markdown/math_syntax.js";
import { Marked } from "../../static/vendor/marked/marked.js";

const marked = new Marked({ gfm: true });
marked.use(cjkEmphasis, mathSyntax);
const plain = new Marked({ gfm: true });
const html = (text) => marked.parse(text).trim();
const inline = (text) => marked.parseInline(text);

test("emphasis next to CJK punctuation is seen", () => {
  assert.equal(inline("**重点：**内容"), "<strong>重点：</strong>内容");
  assert.equal(inline("这是**“中文”**的"), "这是<strong>“中文”</strong>的");
  assert.equal(inline("**中文。**后面"), "<strong>中文。</strong>后面");
  assert.equal(inline("中文*（强调）*后"), "中文<em>（强调）</em>后");
  assert.equal(inline("旧~~（删除）~~新"), "旧<del>（删除）</del>新");
  assert.equal(inline("「**注意！**先读」"), "「<strong>注意！</strong>先读」");
  assert.equal(inline("**日本語。**です"), "<strong>日本語。</strong>です");
  assert.equal(inline("**한국어(韓)**는"), "<strong>한국어(韓)</strong>는");
});

test("emphasis within such emphasis, code and links is kept", () => {
  assert.equal(inline("**“*甲*”**乙"), "<strong>“<em>甲</em>”</strong>乙");
  assert.equal(inline("**用`a**b`。**后"), "<strong>用<code>a**b</code>。</strong>后");
  assert.match(inline("**见[甲](https://a.b/)。**后"), /^<strong>见<a .*<\/a>。<\/strong>后$/);
});

test("what is no emphasis stays as it was", () => {
  for (
    const text of [
      "2 * 3 * 4",
      "a ** b ** c",
      "**中文**。",
      "snake_case_name",
      "中文 ** 空格 ** 后",
      "**未完。",
      "\\*\\*重点：\\*\\*内容",
      "a*b*c",
    ]
  ) assert.equal(inline(text), plain.parseInline(text), text);
});

test("maths is found between its marks", () => {
  assert.equal(inline("$a_1$"), '<code class="math">a_1</code>');
  assert.equal(inline("设$x<y$，则"), '设<code class="math">x&lt;y</code>，则');
  assert.equal(inline("\\(a*b*c\\)"), '<code class="math">a*b*c</code>');
  assert.equal(inline("so $$x^2$$ it"), 'so <code class="math math-display">x^2</code> it');
  assert.equal(html("$$\nx\n= 1\n$$"), '<p><code class="math math-display">x\n= 1</code></p>');
  assert.equal(html("\\[\nx\n\\]\n\nA"), '<p><code class="math math-display">x</code></p><p>A</p>');
});

test("prices are no maths, code neither", () => {
  for (const text of ["It is $5 and $6.", "$ 5 $", "from $5 to $10", "`$a$`", "$5"]) {
    assert.equal(inline(text), plain.parseInline(text), text);
  }
});

test("a long line of marks takes no time that grows with its square", () => {
  const started = performance.now();
  inline("**甲。".repeat(2000));
  inline("$x".repeat(5000));
  assert.ok(performance.now() - started < 5000);
});
