/** Icons, drawn in the colour of the text around them. */

import { html } from "../lit.js";

const PATHS = {
  plus: "M12 5v14M5 12h14",
  send: "M12 19V6M6 11.5 12 5.5l6 6",
  stop: "M7.5 7.5h9v9h-9z",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  check: "M5 12.5 10 17.5 19 7",
  pencil: "M4 20l1-4.5L16 4.5l3.5 3.5L8.5 19zM13.5 7l3.5 3.5",
  trash: "M4.5 7h15M9.5 7V4h5v3M6.5 7l1 13h9l1-13M10.5 11v5.5M13.5 11v5.5",
  down: "M12 5v13M6 12.5l6 6 6-6",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M19.5 3.5V8H15",
  upload: "M12 15V5M7.5 9.5 12 5l4.5 4.5M5 15v4h14v-4",
  download: "M12 5v10M7.5 10.5 12 15l4.5-4.5M5 15v4h14v-4",
  pause: "M9 6v12M15 6v12",
  play: "M8 5.5v13l10-6.5z",
  tool:
    "M14.5 6.5a4 4 0 0 1 5-1l-3 3 .5 2 2 .5 3-3a4 4 0 0 1-5.5 5L9 20l-4-4 7-7.5a4 4 0 0 1 2.5-2z",
  scene: "M5 4h14v16H5zM8.5 9h7M8.5 12.5h7M8.5 16h4",
};

/** @param {keyof typeof PATHS} name */
export function icon(name) {
  return html`
    <svg class="icon icon-${name}" viewBox="0 0 24 24" aria-hidden="true">
      <path
        d=${PATHS[name]}></path>
    </svg>
  `;
}
