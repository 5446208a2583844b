/** What actions on cells work on: the grid, and the rows of the session. */

/** @param {import("./session.js").TableSession} session
 * @param {() => import("./grid.js").TableGrid|null} grid @param {(message: string) => void} say
 * @returns {import("./actions.js").Surface} */
export function surfaceOf(session, grid, say) {
  return {
    grid,
    edits: () => session.edits,
    fields: () => session.fieldsShown,
    rowAt: (line) => session.lines.rowAt(line),
    rows: (top, bottom) => session.lines.rowsOf(top, bottom),
    lines: () => session.lines.count,
    valueOf: (row, field) => session.lines.valueOf(row, field),
    write: (rows, cells) => session.create(rows, cells),
    say,
    get mayEdit() {
      return session.may.edit;
    },
  };
}
