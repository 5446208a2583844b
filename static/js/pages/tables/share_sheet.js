/** The dialog that says who may do what with a table, besides its owner. */

import { t } from "../../i18n/i18n.js";
import { html } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { idOf, inputField, selectField } from "./forms.js";
import { Sheet } from "./sheet.js";

/**
 * @import { TablesApi } from "./api.js"
 * @import { Share, TableData } from "./types.d.ts"
 */

/** What can be chosen, from the least to the most. */
const ACCESSES = /** @type {const} */ (["read", "review", "run", "edit", "edit_run"]);
const MAX_SHARES = 100;

/** @param {TablesApi} api @param {TableData} table @param {(message: string) => void} say */
export async function openShareSheet(api, table, say) {
  const { shares } = await api.shares(table.id);
  const form = shares.map((share) => ({
    kind: share.role === null ? "user" : "role",
    name: share.user ?? share.role ?? "",
    access: nameOf(share.access),
  }));
  new Sheet({
    heading: t("tables.share"),
    action: t("tables.save"),
    isReady: () => form.every(({ name }) => name.trim() !== ""),
    content: (sheet) => content(form, () => sheet.show()),
    onAction: async () => {
      await api.setShares(table.id, form.map(shareOf));
      say(t("tables.shared_with", { count: form.length }));
    },
  });
}

/** @typedef {{kind: string, name: string, access: string}} ShareForm */

/** @param {ShareForm[]} form @param {() => void} show */
function content(form, show) {
  const add = () => {
    form.push({ kind: "user", name: "", access: "read" });
    show();
  };
  return html`
    ${form.length ? "" : html`<p class="muted">${t("tables.not_shared")}</p>`}
    ${form.map((share, place) => line(form, share, place, show))}
    <button type="button" class="button small" ?disabled=${form.length >= MAX_SHARES}
      @click=${add}>${icon("plus")}${t("tables.add_share")}</button>
  `;
}

/** @param {ShareForm[]} form @param {ShareForm} share @param {number} place @param {() => void} show */
function line(form, share, place, show) {
  const set = (/** @type {Partial<ShareForm>} */ changes) => {
    Object.assign(share, changes);
    show();
  };
  const remove = () => {
    form.splice(place, 1);
    show();
  };
  return html`
    <div class="share-line">
      ${selectField({
        id: idOf(share, "kind"),
        label: t("tables.share_kind"),
        isHidden: true,
        value: share.kind,
        options: [["user", t("tables.user")], ["role", t("tables.role")]],
        onChange: (kind) => set({ kind }),
      })}
      ${inputField({
        id: idOf(share, "name"),
        label: t("tables.name"),
        isHidden: true,
        value: share.name,
        onChange: (name) => set({ name }),
      })}
      ${selectField({
        id: idOf(share, "access"),
        label: t("tables.access"),
        isHidden: true,
        value: share.access,
        options: ACCESSES.map((access) => [access, t(`tables.access_${access}`)]),
        onChange: (access) => set({ access }),
      })}
      <button type="button" class="icon-button" aria-label=${t("tables.remove_share")}
        title=${t("tables.remove_share")} @click=${remove}>${icon("close")}</button>
    </div>
  `;
}

/** @param {string[]} access @returns {string} the choice that has all of it */
function nameOf(access) {
  if (access.includes("edit")) return access.includes("run") ? "edit_run" : "edit";
  return ["run", "review"].find((name) => access.includes(name)) ?? "read";
}

/** @param {ShareForm} form @returns {Share} */
function shareOf({ kind, name, access }) {
  const [user, role] = kind === "user" ? [name.trim(), null] : [null, name.trim()];
  return { user, role, access: access.split("_") };
}
