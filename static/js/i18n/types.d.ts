import type english from "./en.js";
import type reasons from "./reasons/en.js";
import type tables from "./tables/en.js";

/** The forms of a text that has a `{count}`, by CLDR's plural categories. */
export interface Plural {
  zero?: string;
  one?: string;
  two?: string;
  few?: string;
  many?: string;
  other: string;
}

/** Catalogues that are loaded with the pages that need them. */
export type Part = "reasons" | "tables";
export type Key = keyof typeof english | keyof typeof reasons | keyof typeof tables;
/** The texts of all pages but those with catalogues of their own. */
export type MainCatalogue = Record<keyof typeof english, string | Plural>;
export type Catalogue = Record<Key, string | Plural>;
