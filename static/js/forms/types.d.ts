/** JSON Schema (2020-12), as far as forms read it. Any keyword may be missing, or be odd. */
export type Schema = boolean | SchemaObject;

export interface SchemaObject {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  examples?: unknown[];
  enum?: unknown[];
  const?: unknown;
  format?: string;
  pattern?: string;
  minimum?: number | bigint;
  maximum?: number | bigint;
  exclusiveMinimum?: number | bigint;
  exclusiveMaximum?: number | bigint;
  multipleOf?: number | bigint;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  // deno-lint-ignore no-explicit-any
  [keyword: string]: any;
}

interface Common {
  schema: SchemaObject;
  title: string;
  description: string;
  /** Null is a value of it: what an empty input stands for. */
  isNullable: boolean;
}

export interface Choice {
  label: string;
  value: unknown;
}

export interface Member {
  name: string;
  isRequired: boolean;
  node: Node;
}

/** What a form asks for: one input, or several. */
export type Node =
  & Common
  & (
    | { kind: "text" | "line" | "integer" | "number" | "boolean" | "json" }
    | { kind: "choice"; choices: Choice[] }
    | { kind: "object"; members: Member[] }
    | { kind: "list"; item: () => Node }
    | { kind: "variants"; variants: Node[] }
  );

export type Kind = Node["kind"];

/** What is in the inputs of a node, right or wrong; JSON, so that a draft can be kept. */
export type State =
  | string
  | boolean
  | { given: boolean; states: State[] }
  | { items: State[] }
  // -1: none is chosen
  | { variant: number; states: State[] };
