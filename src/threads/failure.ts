/** An error as plain data, so that it can cross from one thread to another: the chain of causes, outermost first. */
export type Failure = readonly { readonly name: string; readonly message: string; readonly stack?: string }[];

/** How many causes are followed: a cycle must not be. */
const MAX_DEPTH = 16;

/** Flattens an error and its causes. */
export function toFailure(error: unknown): Failure {
  const failure: { name: string; message: string; stack?: string }[] = [];
  let current: unknown = error;
  while (current !== undefined && failure.length < MAX_DEPTH) {
    if (!(current instanceof Error)) {
      failure.push({ name: "Error", message: String(current) });
      break;
    }
    const { name, message, stack } = current;
    failure.push(stack === undefined ? { name, message } : { name, message, stack });
    current = current.cause;
  }
  return failure;
}

/** A thread of the VMM failed. Its causes are those of the thread. */
export class ThreadError extends Error {
  override readonly name = "ThreadError";
  readonly thread: string;

  constructor(thread: string, failure: Failure) {
    super(`thread ${thread} failed`, { cause: toError(failure) });
    this.thread = thread;
  }
}

function toError([head, ...rest]: Failure): Error | undefined {
  if (head === undefined) return undefined;
  const error = new Error(head.message, rest.length > 0 ? { cause: toError(rest) } : undefined);
  error.name = head.name;
  if (head.stack !== undefined) error.stack = head.stack;
  return error;
}
