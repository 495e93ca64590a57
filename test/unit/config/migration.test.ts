import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ValidationError } from "../../../src/config/errors.ts";
import { receiveMigrationSchema, sendMigrationSchema } from "../../../src/config/schema/migration.ts";
import { parseOption } from "../../../src/config/schema/object-schema.ts";
import {
  parseMigrationUrl,
  validateReceiveMigration,
  validateSendMigration,
} from "../../../src/config/validate/migration.ts";
import { thrown } from "./command-line.ts";

const send = (text: string) => validateSendMigration(parseOption(sendMigrationSchema, text));
const receive = (text: string) => validateReceiveMigration(parseOption(receiveMigrationSchema, text));
const rule = (run: () => unknown) => {
  const error = thrown(run);
  return error instanceof ValidationError ? error.rule : String(error);
};

test("URLs", () => {
  expect(parseMigrationUrl("tcp:host:1")).toEqual({ kind: "tcp", host: "host", port: 1 });
  expect(parseMigrationUrl("tcp:[fe80::1]:65535")).toEqual({ kind: "tcp", host: "fe80::1", port: 65535 });
  expect(parseMigrationUrl("unix:/a b")).toEqual({ kind: "unix", path: "/a b" });
  for (const bad of [
    "",
    "unix:",
    "tcp:",
    "tcp::1",
    "tcp:host",
    "tcp:host:",
    "tcp:host:65536",
    "tcp:::1:5",
    "tcp:h:x",
    "http:x",
  ])
    expect(rule(() => parseMigrationUrl(bad))).toBe("migration-url");
});

describe("sending", () => {
  test.each(["destination_url=tcp:h:1,connections=128", "destination_url=unix:/s,local=on,preserve_source=on"])(
    "%s",
    (text) => expect(send(text)).toBeDefined(),
  );

  test.each([
    ["destination_url=tcp:h:1,connections=129", "migration-connections"],
    ["destination_url=unix:/s,connections=2", "migration-connections"],
    ["destination_url=tcp:h:1,local=on", "migration-local"],
    ["destination_url=tcp:h:1,preserve_source=on", "migration-preserve"],
    ["destination_url=unix:/s,local=on,memory_mode=postcopy", "migration-postcopy"],
    ["destination_url=tcp:h:1,connections=2,memory_mode=postcopy", "migration-postcopy"],
    ["destination_url=unix:/s,tls_dir=/tmp", "migration-tls"],
    ["destination_url=tcp:h:1,tls_dir=/nonexistent", "migration-tls"],
  ])("%s breaks %s", (text, broken) => expect(rule(() => send(text))).toBe(broken));

  test("0 is no time and no number of connections", () => {
    for (const key of ["downtime_ms", "timeout_s", "connections"])
      expect(String(thrown(() => send(`destination_url=unix:/s,${key}=0`)))).toContain("at least 1");
  });
});

test("TLS needs all its files", () => {
  const folder = mkdtempSync(join(tmpdir(), "tls-"));
  try {
    const text = `receiver_url=tcp:h:1,tls_dir=${folder}`;
    for (const name of ["ca-cert.pem", "server-cert.pem", "server-key.pem"]) {
      expect(rule(() => receive(text))).toBe("migration-tls");
      writeFileSync(join(folder, name), "");
    }
    expect(receive(text)).toEqual({ kind: "tcp", host: "h", port: 1 });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("memory zones move once", () => {
  expect(receive("receiver_url=unix:/s,zone_updates=[a@0,b@1]")).toBeDefined();
  expect(rule(() => receive("receiver_url=unix:/s,zone_updates=[a@0,a@1]"))).toBe("zone-updates");
});
