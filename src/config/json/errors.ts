/** A JSON document that does not say what it should. The message names the member, what was expected and where it is. */
export class JsonError extends Error {
  override readonly name = "JsonError";
  /** The member, as `disks[0].num_queues`; empty for the document as a whole. */
  readonly path: string;
  /** Both count from 1; the column counts UTF-16 units. */
  readonly line: number;
  readonly column: number;

  constructor(path: string, problem: string, line: number, column: number) {
    super(`${path === "" ? "" : `${path}: `}${problem} at line ${line} column ${column}`);
    this.path = path;
    this.line = line;
    this.column = column;
  }
}
