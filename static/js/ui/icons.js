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
  up: "M12 19V6M6 11.5l6-6 6 6",
  down: "M12 5v13M6 12.5l6 6 6-6",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M19.5 3.5V8H15",
  upload: "M12 15V5M7.5 9.5 12 5l4.5 4.5M5 15v4h14v-4",
  download: "M12 5v10M7.5 10.5 12 15l4.5-4.5M5 15v4h14v-4",
  pause: "M9 6v12M15 6v12",
  play: "M8 5.5v13l10-6.5z",
  tool:
    "M14.5 6.5a4 4 0 0 1 5-1l-3 3 .5 2 2 .5 3-3a4 4 0 0 1-5.5 5L9 20l-4-4 7-7.5a4 4 0 0 1 2.5-2z",
  close: "M6 6l12 12M18 6 6 18",
  table: "M4 5h16v14H4zM4 9.7h16M9.5 9.7V19M14.8 9.7V19",
  filter: "M4 6h16M7 12h10M10 18h4",
  sort: "M8 5v14M4.5 15.5 8 19l3.5-3.5M16 19V5M12.5 8.5 16 5l3.5 3.5",
  group: "M5 5h14M8.5 10H19M8.5 14H19M5 19h14",
  eye: "M3 12s3.5-6 9-6 9 6 9 6-3.5 6-9 6-9-6-9-6zM12 9.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5",
  pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
  left: "M19 12H5M11 6l-6 6 6 6",
  right: "M5 12h14M13 6l6 6-6 6",
  undo: "M8 6 4 10l4 4M4.5 10H14a5 5 0 0 1 0 10h-3",
  redo: "M16 6l4 4-4 4M19.5 10H10a5 5 0 0 0 0 10h3",
  spark: "M12 4l1.8 6.2L20 12l-6.2 1.8L12 20l-1.8-6.2L4 12l6.2-1.8z",
  share: "M12 14V4M8.5 7 12 3.5 15.5 7M7 11H5v9h14v-9h-2",
  good: "M7 11v9H4v-9zM7 12l4-8c2 0 2.5 1.5 2 3l-.8 3H19l-1.5 8.5c-.2 1-.8 1.5-2 1.5H7",
  bad: "M17 13V4h3v9zM17 12l-4 8c-2 0-2.5-1.5-2-3l.8-3H5l1.5-8.5C6.700 4.500 7.300 4 8.500 4H17",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  chevron: "M7 10l5 5 5-5",
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
