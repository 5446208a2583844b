/** The part of Temml 0.13 that the app uses. */

declare const temml: {
  renderToString(
    tex: string,
    options: { displayMode: boolean; throwOnError: boolean; maxExpand: number },
  ): string;
};

export default temml;
