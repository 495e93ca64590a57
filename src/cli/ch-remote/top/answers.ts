import { ApiConnectionError } from "../../../api/client/api-client.ts";

type Members = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Members => typeof value === "object" && value !== null;
const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

function objectsIn(holder: unknown, name: string): readonly Members[] {
  const list = isObject(holder) ? holder[name] : undefined;
  return Array.isArray(list) ? list.filter(isObject) : [];
}

/**
 * Which VMM it is, by its answer to a ping.
 * @throws ApiConnectionError for what no VMM answers: the process ID becomes part of a path
 */
export function identityOf(ping: unknown): { readonly pid: number; readonly version: string } {
  const { pid, version }: Members = isObject(ping) ? ping : {};
  if (typeof pid !== "number" || !Number.isSafeInteger(pid) || pid < 0 || typeof version !== "string")
    throw new ApiConnectionError("the answer is not that of a VMM");
  return { pid, version };
}

/** What the devices of a VM use of the host, by id; what is of another kind than it should be is passed over. */
export function usesOf(info: unknown): ReadonlyMap<string, string> {
  const config = isObject(info) ? info["config"] : undefined;
  return new Map([
    ...objectsIn(config, "disks").map((disk) => [textOf(disk["id"]), textOf(disk["path"])] as const),
    ...objectsIn(config, "net").map(
      (net) => [textOf(net["id"]), net["user"] === true ? "passt" : textOf(net["tap"])] as const,
    ),
  ]);
}
