/** Code has a bar with its language and a button to copy it. */

import { t } from "../i18n/i18n.js";
import { copyButton } from "../ui/copy.js";

/** @param {HTMLElement} pre */
export function code(pre) {
  const name = pre.firstElementChild?.className ?? "";
  const language = /language-([\w+#.-]+)/.exec(name)?.[1] ?? "";
  const frame = document.createElement("div");
  frame.className = "md-code";
  frame.dir = "ltr";
  const bar = document.createElement("div");
  bar.className = "md-code-bar";
  const label = document.createElement("span");
  label.textContent = language || t("markdown.text");
  bar.append(label, copyButton(() => pre.textContent ?? "", t("markdown.copy_code")));
  pre.tabIndex = 0;
  pre.replaceWith(frame);
  frame.append(bar, pre);
}
