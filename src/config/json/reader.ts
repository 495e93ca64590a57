import { JsonError } from "./errors.ts";

/** Deeper nesting than any document of the API has by far. */
const MAX_DEPTH = 128;

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
/** Anything but quotes, backslashes and control characters. */
const PLAIN = /[ !#-[\]-\uffff]*/y;
const WORD = /[a-z]+/y;
const LINE_FEED = 10;

/** What a value begins with. */
export type JsonKind = "object" | "array" | "string" | "number" | "boolean" | "null";

const ARTICLES: Readonly<Record<JsonKind, string>> = {
  object: "an object",
  array: "an array",
  string: "a string",
  number: "a number",
  boolean: "a boolean",
  null: "null",
};

const UNPAIRED = "the text has half of a surrogate pair";

/**
 * Reads a JSON document (RFC 8259) from front to back, as its consumer asks for it. It sees what `JSON.parse` hides: repeated
 * members, numbers as they are written, and where things are. Every method throws JsonError.
 */
export class JsonReader {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  /** Names and indices that lead to the value being read. */
  readonly #path: (string | number)[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  /** Fails at the current place, or at `at`. */
  fail(problem: string, at = this.#at): never {
    let line = 1;
    let start = 0;
    for (let i = 0; i < at; i++)
      if (this.#text.charCodeAt(i) === LINE_FEED) {
        line++;
        start = i + 1;
      }
    const path = this.#path.map((part) => (typeof part === "number" ? `[${part}]` : `.${part}`)).join("");
    throw new JsonError(path.replace(/^\./, ""), problem, line, at - start + 1);
  }

  /** Fails because the value that comes next, or began at `at`, is not what it should be. */
  unexpected(expected: string, at = this.#skipSpace()): never {
    const kind = this.#kindAt(at);
    if (kind === undefined) return this.#noValue(at);
    return this.fail(`expected ${expected}, found ${this.#shown(kind, at)}`, at);
  }

  /** The kind of the value that comes next, which is not consumed. */
  kind(): JsonKind {
    const at = this.#skipSpace();
    return this.#kindAt(at) ?? this.#noValue(at);
  }

  /** Where the next value begins, for `fail`. */
  get place(): number {
    return this.#skipSpace();
  }

  string(expected = "a string"): string {
    if (this.kind() !== "string") return this.unexpected(expected);
    return this.#string();
  }

  boolean(): boolean {
    if (this.kind() !== "boolean") return this.unexpected("true or false");
    return this.#word() === "true";
  }

  /** A number as it is written. */
  number(expected: string): string {
    if (this.kind() !== "number") return this.unexpected(expected);
    return this.#number();
  }

  /** Consumes a null, when it comes next. */
  takeNull(): boolean {
    if (this.kind() !== "null") return false;
    this.#word();
    return true;
  }

  /** An array. @param element reads the element that comes next */
  array(element: (index: number) => void): void {
    if (this.kind() !== "array") this.unexpected("an array");
    this.#enter();
    for (let index = 0; !this.#closes("]", index === 0); index++) {
      this.#path.push(index);
      element(index);
      this.#path.pop();
    }
    this.#depth--;
  }

  /**
   * An object.
   * @param member reads the value of the member that comes next, or says why there should be none; `at` is where its name is
   */
  object(member: (name: string, at: number) => void, expected = "an object"): void {
    if (this.kind() !== "object") this.unexpected(expected);
    this.#enter();
    for (let first = true; !this.#closes("}", first); first = false) {
      const at = this.#skipSpace();
      if (this.#text[at] !== '"') this.fail("expected the name of a member in double quotes");
      const name = this.#string();
      this.#skipSpace();
      if (this.#text[this.#at] !== ":") this.fail("expected ':' after the name of a member");
      this.#at++;
      this.#path.push(name);
      member(name, at);
      this.#path.pop();
    }
    this.#depth--;
  }

  /** Any value, which must be well formed. */
  skip(): void {
    switch (this.kind()) {
      case "object":
        this.object(() => this.skip());
        return;
      case "array":
        this.array(() => this.skip());
        return;
      case "string":
        this.#string();
        return;
      case "number":
        this.#number();
        return;
      case "boolean":
      case "null":
        this.#word();
    }
  }

  /** Only white space may be left. */
  end(): void {
    if (this.#skipSpace() < this.#text.length) this.fail("there is more after the end of the document");
  }

  #skipSpace(): number {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return this.#at;
      this.#at++;
    }
  }

  #kindAt(at: number): JsonKind | undefined {
    const char = this.#text[at] ?? "";
    switch (char) {
      case "{":
        return "object";
      case "[":
        return "array";
      case '"':
        return "string";
      case "t":
      case "f":
        return "boolean";
      case "n":
        return "null";
      default:
        return char === "-" || (char >= "0" && char <= "9") ? "number" : undefined;
    }
  }

  #shown(kind: JsonKind, at: number): string {
    if (kind !== "number") return ARTICLES[kind];
    NUMBER.lastIndex = at;
    return NUMBER.exec(this.#text)?.[0].slice(0, 40) ?? "a malformed number";
  }

  #noValue(at: number): never {
    return this.fail(at < this.#text.length ? "expected a value" : "the document ends too early", at);
  }

  #enter(): void {
    this.#at++;
    this.#depth++;
    if (this.#depth > MAX_DEPTH) this.fail(`more than ${MAX_DEPTH} levels of nesting`);
  }

  /** Consumes the end of an array or object, or the comma before its next part. */
  #closes(bracket: "]" | "}", first: boolean): boolean {
    this.#skipSpace();
    const char = this.#text[this.#at];
    if (char === bracket) {
      this.#at++;
      return true;
    }
    if (first) return false;
    if (char !== ",") this.fail(`expected ',' or '${bracket}'`);
    this.#at++;
    if (this.#text[this.#skipSpace()] === bracket) this.fail(`'${bracket}' after a comma`);
    return false;
  }

  #string(): string {
    const start = this.#at;
    let escaped = false;
    PLAIN.lastIndex = start + 1;
    for (;;) {
      PLAIN.test(this.#text);
      const at = PLAIN.lastIndex;
      const char = this.#text[at];
      if (char === '"') {
        this.#at = at + 1;
        break;
      }
      if (char === undefined) this.fail("a string does not end", start);
      if (char !== "\\") this.fail("a control character in a string", at);
      escaped = true;
      PLAIN.lastIndex = at + 2;
    }
    if (!escaped) return this.#text.slice(start + 1, this.#at - 1);
    const value = this.#unescape(start);
    return value.isWellFormed() ? value : this.fail(UNPAIRED, start);
  }

  #unescape(start: number): string {
    try {
      return String(JSON.parse(this.#text.slice(start, this.#at)));
    } catch (error) {
      if (error instanceof SyntaxError) return this.fail("a string with an unknown escape sequence", start);
      throw error;
    }
  }

  #number(): string {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text);
    if (match === null) return this.fail("a malformed number");
    const after = this.#text[NUMBER.lastIndex] ?? "";
    if (/[\w.+-]/.test(after)) this.fail("a malformed number");
    this.#at = NUMBER.lastIndex;
    return match[0];
  }

  #word(): string {
    WORD.lastIndex = this.#at;
    const word = WORD.exec(this.#text)?.[0] ?? "";
    if (word !== "true" && word !== "false" && word !== "null") this.fail("expected a value");
    this.#at += word.length;
    return word;
  }
}
