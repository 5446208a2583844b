import type english from "./en.js";

/** The forms of a text that has a `{count}`, by CLDR's plural categories. */
export interface Plural {
  zero?: string;
  one?: string;
  two?: string;
  few?: string;
  many?: string;
  other: string;
}

export type Key = keyof typeof english;
export type Catalogue = Record<Key, string | Plural>;
