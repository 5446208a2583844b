/** An element that shows one block of a Markdown text. */
export interface Block extends HTMLDivElement {
  /** The Markdown it was made from. */
  source: string;
  /** What is drawn lazily was drawn, or is being drawn. */
  isFinished?: boolean;
}
