/** The part of marked 18 that the app uses. */

export type Links = Record<string, { href: string; title?: string }>;

export interface Token {
  type: string;
  raw: string;
  text: string;
  /** Of a definition: the link's name, and where it leads. */
  tag?: string;
  href?: string;
  title?: string;
}

export interface Tokens extends Array<Token> {
  links: Links;
}

export class Lexer {
  constructor(options: object);
  tokens: Tokens;
  lex(source: string): Tokens;
}

export class Marked {
  constructor(options: {
    gfm: boolean;
    renderer: {
      html(token: { text: string }): string;
      image(token: { href: string; text: string }): string;
    };
  });
  readonly defaults: object;
  use(extension: object): this;
  parser(tokens: Token[]): string;
}
