const MOST_TRIES = 2000;
const MOST_MS = 5000;

/**
 * A smaller input with the same error: parts are cut out for as long as that works.
 * @param attempt runs an input and returns its error
 * @returns undefined where not even the input itself does it again
 */
export async function minimise(
  input: Uint8Array,
  error: unknown,
  attempt: (input: Uint8Array) => Promise<unknown>,
): Promise<Uint8Array | undefined> {
  const wanted = kindOf(error);
  const until = performance.now() + MOST_MS;
  let tries = 0;
  const fails = async (candidate: Uint8Array): Promise<boolean> => {
    tries++;
    const other = await attempt(candidate);
    return other !== undefined && kindOf(other) === wanted;
  };
  if (!(await fails(input))) return undefined;
  let best = input;
  for (let size = Math.ceil(best.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2))
    for (let at = 0; at < best.length; ) {
      if (tries >= MOST_TRIES || performance.now() > until) return best;
      const candidate = new Uint8Array([...best.subarray(0, at), ...best.subarray(at + size)]);
      if (await fails(candidate)) best = candidate;
      else at += size;
    }
  return best;
}

/** What makes an error the same: its type and where it is thrown, whatever numbers its message holds. */
function kindOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const place = /\n\s+at [^\n]*/.exec(error.stack ?? "")?.[0] ?? "";
  return `${error.name}: ${error.message.replace(/0x[0-9a-f]+|\d+/g, "N")}${place}`;
}
