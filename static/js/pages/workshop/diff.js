/** The lines in which two texts differ. */

/** @typedef {{kind: "same"|"added"|"removed", text: string}} Line */

/** Cells of the table at most: 1,000 lines against 1,000. More are shown as all replaced. */
const MAX_CELLS = 1_000_000;

/** @param {string} before @param {string} after @returns {Line[]} */
export function diff(before, after) {
  const old = linesOf(before);
  const now = linesOf(after);
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start++;
  let end = 0;
  const room = Math.min(old.length, now.length) - start;
  while (end < room && old.at(-1 - end) === now.at(-1 - end)) end++;
  return [
    ...ofKind("same", old.slice(0, start)),
    ...changed(old.slice(start, old.length - end), now.slice(start, now.length - end)),
    ...ofKind("same", old.slice(old.length - end)),
  ];
}

/** @param {string} text */
function linesOf(text) {
  return text === "" ? [] : text.split("\n");
}

/** @param {Line["kind"]} kind @param {string[]} texts @returns {Line[]} */
function ofKind(kind, texts) {
  return texts.map((text) => ({ kind, text }));
}

/** By their longest common subsequence. @param {string[]} old @param {string[]} now */
function changed(old, now) {
  if (old.length * now.length > MAX_CELLS) {
    return [...ofKind("removed", old), ...ofKind("added", now)];
  }
  const lengths = commonLengths(old, now);
  /** @type {Line[]} */
  const lines = [];
  let [i, j] = [0, 0];
  while (i < old.length && j < now.length) {
    if (old[i] === now[j]) {
      lines.push({ kind: "same", text: old[i++] });
      j++;
    } else if (lengths[i + 1][j] >= lengths[i][j + 1]) {
      lines.push({ kind: "removed", text: old[i++] });
    } else {
      lines.push({ kind: "added", text: now[j++] });
    }
  }
  return [...lines, ...ofKind("removed", old.slice(i)), ...ofKind("added", now.slice(j))];
}

/** Of the rest of both from each pair of lines on. @param {string[]} old @param {string[]} now */
function commonLengths(old, now) {
  const lengths = Array.from({ length: old.length + 1 }, () => new Uint32Array(now.length + 1));
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      lengths[i][j] = old[i] === now[j]
        ? lengths[i + 1][j + 1] + 1
        : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  return lengths;
}

const CONTEXT = 3;

/**
 * Without the lines that are the same and far from all that differ.
 *
 * @param {Line[]} lines @returns {(Line|null)[]} null: lines are left out here
 */
export function shortened(lines) {
  const isNear = lines.map(() => false);
  lines.forEach(({ kind }, index) => {
    if (kind === "same") return;
    for (let near = index - CONTEXT; near <= index + CONTEXT; near++) isNear[near] = true;
  });
  return lines.flatMap((line, index) => {
    if (isNear[index]) return [line];
    return index === 0 || isNear[index - 1] ? [null] : [];
  });
}
