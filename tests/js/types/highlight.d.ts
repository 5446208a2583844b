/** The part of highlight.js 11 that the app uses. */

declare const highlighter: {
  getLanguage(name: string): object | undefined;
  highlight(
    code: string,
    options: { language: string; ignoreIllegals: boolean },
  ): { value: string };
};

export default highlighter;
