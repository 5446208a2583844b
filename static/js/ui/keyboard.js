/** What a key press means. */

/** `keyCode` of a key that an input method has taken, in the order of Safari's events as well: there
 * the word ends before the Enter that ends it. */
const COMPOSING_KEY_CODE = 229;

/** @param {KeyboardEvent} event @returns {boolean} it belongs to a word that an input method composes */
export function isComposing(event) {
  return event.isComposing || event.keyCode === COMPOSING_KEY_CODE;
}

/** @param {KeyboardEvent} event @returns {boolean} it types a character */
export function isCharacter(event) {
  const hasCommand = event.ctrlKey || event.metaKey || event.altKey;
  const isCommand = hasCommand && !event.getModifierState("AltGraph");
  return !isCommand && [...event.key].length === 1;
}
