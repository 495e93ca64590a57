import type { ReceiveMigrationData, SendMigrationData } from "../schema/migration.ts";
import { refuse } from "./checks.ts";

/** Where a migration goes or comes from. */
export type MigrationUrl =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

const MAX_PORT = 65_535;
const MAX_CONNECTIONS = 128;

/** `tcp:<host>:<port>`, `tcp:[<IPv6>]:<port>` or `unix:<path>`. @throws ValidationError */
export function parseMigrationUrl(url: string): MigrationUrl {
  if (url.startsWith("unix:")) {
    const path = url.slice("unix:".length);
    return path === "" ? refuse("migration-url", `'${url}' has no path`) : { kind: "unix", path };
  }
  if (!url.startsWith("tcp:")) return refuse("migration-url", `'${url}' is neither tcp:<host>:<port> nor unix:<path>`);
  const match = /^tcp:(?:\[([^[\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(url);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port <= MAX_PORT))
    return refuse("migration-url", `'${url}' is not tcp:<host>:<port> or tcp:[<IPv6 address>]:<port>`);
  return { kind: "tcp", host, port };
}

function checkTls(url: MigrationUrl, folder: string | undefined, names: readonly string[]): void {
  if (folder === undefined) return;
  if (url.kind !== "tcp") refuse("migration-tls", "tls_dir is for tcp: only");
  const { accessSync, constants, statSync } = process.getBuiltinModule("node:fs");
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
    refuse("migration-tls", `tls_dir '${folder}' is no directory`);
  for (const name of names) {
    const path = `${folder}/${name}`;
    if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true)
      refuse("migration-tls", `tls_dir needs a file '${path}'`);
    try {
      accessSync(path, constants.R_OK);
    } catch {
      refuse("migration-tls", `'${path}' cannot be read`);
    }
  }
}

/** Checks what `vm.send-migration` is asked for: cli.md, section 5.1. @throws ValidationError */
export function validateSendMigration(data: SendMigrationData): MigrationUrl {
  const url = parseMigrationUrl(data.destination_url);
  const several = data.connections > 1;
  if (data.connections > MAX_CONNECTIONS)
    refuse("migration-connections", `${data.connections} connections, at most ${MAX_CONNECTIONS} are possible`);
  if (several && url.kind === "unix") refuse("migration-connections", "several connections are for tcp: only");
  if (data.local && url.kind !== "unix") refuse("migration-local", "local needs a unix: destination");
  if (data.local && several) refuse("migration-local", "local excludes several connections");
  if (data.preserve_source && !data.local) refuse("migration-preserve", "preserve_source needs local");
  if (data.memory_mode === "Postcopy" && (data.local || several))
    refuse("migration-postcopy", "memory mode Postcopy excludes local and several connections");
  checkTls(url, data.tls_dir, ["ca-cert.pem", "client-cert.pem", "client-key.pem"]);
  return url;
}

/** Checks what `vm.receive-migration` is asked for: cli.md, section 5.1. @throws ValidationError */
export function validateReceiveMigration(data: ReceiveMigrationData): MigrationUrl {
  const url = parseMigrationUrl(data.receiver_url);
  checkTls(url, data.tls_dir, ["ca-cert.pem", "server-cert.pem", "server-key.pem"]);
  const ids = new Set<string>();
  for (const { id } of data.zone_updates) {
    if (id === "") refuse("zone-updates", "a memory zone without a name in zone_updates");
    if (ids.has(id)) refuse("zone-updates", `memory zone '${id}' is given twice in zone_updates`);
    ids.add(id);
  }
  return url;
}
