import type english from "./en.js";
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

/** A page with a catalogue of its own. */
export type Part = "tables";
export type Key = keyof typeof english | keyof typeof tables;
/** The texts of all pages but those with catalogues of their own. */
export type MainCatalogue = Record<keyof typeof english, string | Plural>;
export type Catalogue = Record<Key, string | Plural>;
