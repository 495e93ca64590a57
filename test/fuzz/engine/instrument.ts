import { readFileSync } from "node:fs";
import { plugin } from "bun";
import MagicString from "magic-string";
import { parseSync, type Span, Visitor } from "oxc-parser";
import { HITS_NAME, newHit } from "./coverage.ts";

/**
 * From now on the program's own modules count their branches as they are loaded. No fuzzer on npm that does so runs on Bun:
 * jazzer.js needs an addon that only Node loads.
 */
export function instrumentSources(): void {
  plugin({
    name: "count-branches",
    setup(build) {
      build.onLoad({ filter: /\/(src|selftest)\/.*\.ts$/ }, ({ path }) => ({
        contents: instrument(path, readFileSync(path, "utf8")),
        loader: "ts",
      }));
    },
  });
}

/** The same program, with a counter in every function, branch, loop and arm of an expression. */
export function instrument(path: string, source: string): string {
  const { program, errors } = parseSync(path, source);
  const [error] = errors;
  if (error !== undefined) throw new Error(`${path}: ${error.message}`);
  const text = new MagicString(source);
  const hit = (): string => `$hits[${newHit()}]++`;
  const block = ({ start }: Span): void => {
    text.appendRight(start + 1, `${hit()};`);
  };
  const statement = (node: (Span & { readonly type: string }) | null): void => {
    if (node === null) return;
    if (node.type === "BlockStatement") block(node);
    else {
      text.appendRight(node.start, `{${hit()};`);
      text.appendLeft(node.end, "}");
    }
  };
  const expression = ({ start, end }: Span): void => {
    text.appendRight(start, `(${hit()},`);
    text.appendLeft(end, ")");
  };
  const loop = ({ body }: { readonly body: Span & { readonly type: string } }): void => statement(body);
  new Visitor({
    FunctionDeclaration: ({ body }) => body && block(body),
    FunctionExpression: ({ body }) => body && block(body),
    ArrowFunctionExpression: ({ body }) => (body.type === "BlockStatement" ? block(body) : expression(body)),
    IfStatement: ({ consequent, alternate }) => {
      statement(consequent);
      statement(alternate);
    },
    ForStatement: loop,
    ForOfStatement: loop,
    ForInStatement: loop,
    WhileStatement: loop,
    DoWhileStatement: loop,
    CatchClause: ({ body }) => block(body),
    SwitchCase: ({ consequent: [first] }) => {
      if (first !== undefined) text.appendRight(first.start, `${hit()};`);
    },
    ConditionalExpression: ({ consequent, alternate }) => {
      expression(consequent);
      expression(alternate);
    },
    LogicalExpression: ({ right }) => expression(right),
  }).visit(program);
  const [first] = program.body;
  text.prependLeft(first?.start ?? source.length, `const $hits=globalThis.${HITS_NAME};`);
  return text.toString();
}
