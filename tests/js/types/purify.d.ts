/** The part of DOMPurify 3.4 that the app uses. */

export interface Purify {
  addHook(name: "afterSanitizeAttributes", hook: (node: Element) => void): void;
  sanitize(html: string, options: { RETURN_DOM_FRAGMENT: boolean }): DocumentFragment;
}

export default function createPurify(window: Window): Purify;
