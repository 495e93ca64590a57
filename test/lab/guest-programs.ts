import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asset } from "../setup/cache.ts";
import { run } from "../setup/exec.ts";
import type { Guest } from "./guest.ts";

const SECTOR = 512;

/** Builds a program of guest-programs/, once, for a Linux guest. @returns a raw disk image that holds it and nothing else */
export async function programDisk(name: string): Promise<string> {
  const source = join(import.meta.dir, "guest-programs", `${name}.c`);
  const dir = await asset(`guest-program-${name}`, { source: await Bun.file(source).text() }, async (out) => {
    const program = join(out, name);
    await run(["gcc", "-O1", "-static", "-s", "-Wall", "-Werror", "-o", program, source]);
    const bytes = await readFile(program);
    const image = Buffer.alloc(Math.ceil(bytes.length / SECTOR) * SECTOR);
    bytes.copy(image);
    await writeFile(join(out, "disk.raw"), image);
  });
  return join(dir, "disk.raw");
}

/** Makes the program on a disk of a guest one of its commands: what follows its end does not matter to it. */
export async function installProgram(guest: Guest, device: string, name: string): Promise<void> {
  await guest.run(`cat /dev/${device} >/bin/${name} && chmod +x /bin/${name}`);
}
