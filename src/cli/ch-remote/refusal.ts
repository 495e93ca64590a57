import type { ApiReply } from "../../api/client/api-client.ts";
import { MAX_LINKS } from "../error-chain.ts";

/** The VMM refused. The causes are what it said. */
export class ServerError extends Error {
  override readonly name = "ServerError";
}

const STATUS_NAMES: Readonly<Partial<Record<number, string>>> = {
  400: "Bad Request",
  404: "Not Found",
  429: "Too Many Requests",
  500: "Internal Server Error",
  501: "Not Implemented",
};

/** The strings of an error body, outermost first; undefined when it is no array of strings. */
function errorTexts(body: string): readonly string[] | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return Array.isArray(value) && value.every((text) => typeof text === "string") ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** An answer that is none of success. */
export interface Refusal {
  readonly error: ServerError;
  /** The body as it came, where it tells no causes; empty otherwise. */
  readonly remark: string;
}

/** What an answer says, whoever gave it: no more causes than are shown. */
export function refusalOf({ status, body }: ApiReply): Refusal {
  const texts = errorTexts(body);
  const cause = texts
    ?.slice(0, MAX_LINKS)
    .reduceRight<Error | undefined>((inner, text) => new Error(text, { cause: inner }), undefined);
  const what = `the VMM answered ${status} ${STATUS_NAMES[status] ?? "(unknown)"}`;
  return { error: new ServerError(what, { cause }), remark: texts === undefined ? body : "" };
}
