import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFile, mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { ApiClient, ApiConnectionError } from "../../src/api/client/api-client.ts";
import { scratchDir } from "../setup/cache.ts";
import { buildPayload } from "./build.ts";
import { eventually } from "./eventually.ts";
import { vmmPath } from "./vmm.ts";

const checkout = join(import.meta.dir, "../..");
const START_MS = 20_000;

let folder: string;
beforeAll(async () => {
  folder = await scratchDir("typescript-client");
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The README's example of the client. */
async function example(): Promise<string> {
  const readme = await Bun.file(join(checkout, "README.md")).text();
  const [, code] = /```ts\n(import \{[^}]*VmmClient[^`]*)```/.exec(readme) ?? [];
  if (code === undefined) throw new Error("the README has no example of the client");
  return code;
}

/** True when there is somebody at the socket. */
function answers(socket: string): true | undefined {
  try {
    new ApiClient(socket).close();
    return true;
  } catch (error) {
    if (error instanceof ApiConnectionError) return undefined;
    throw error;
  }
}

/** A package's user, who has it in node_modules. */
test("the README's example drives a VM", async () => {
  await copyFile(await buildPayload("powerbutton"), join(folder, "vmlinuz"));
  await Bun.write(join(folder, "root.raw"), new Uint8Array(1 << 20));
  await mkdir(join(folder, "node_modules"));
  await symlink(checkout, join(folder, "node_modules/cloud-hypervisor"));
  await Bun.write(join(folder, "example.ts"), await example());

  const stdio = ["ignore", "ignore", "inherit"] as const;
  const vmm = Bun.spawn([vmmPath(), "--no-shutdown", "--api-socket", "path=vm.sock"], {
    cwd: folder,
    stdio: [...stdio],
  });
  try {
    await eventually("the API", START_MS, () => answers(join(folder, "vm.sock")));
    const user = Bun.spawn([process.execPath, "example.ts"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
    const [output, status] = await Promise.all([user.stdout.text(), user.exited]);
    expect(output).toMatch(/^Running _virtio-pci-root\n500 .*missing\.raw.*\n$/);
    expect([status, await vmm.exited]).toEqual([0, 0]);
  } finally {
    vmm.kill();
    await vmm.exited;
  }
});
