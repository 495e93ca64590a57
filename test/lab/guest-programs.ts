import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asset } from "../setup/cache.ts";
import { findTool, run, runText, SetupError } from "../setup/exec.ts";
import { makeExt4 } from "../setup/images.ts";
import { ensurePackages, type PackageName } from "../setup/packages.ts";
import { stageBusybox, stageProgram } from "../setup/rootfs.ts";
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

/**
 * A program of the host that is installed there, with all that it loads, for a Linux guest: it takes a file system of its own.
 * @returns a disk image, ext4 without partitions; nothing may write to it
 */
async function installedProgramDisk(name: PackageName, sizeMiB: number): Promise<string> {
  await ensurePackages([name, "busybox-static", "e2fsprogs"]);
  const program = findTool(name);
  if (program === undefined) throw new SetupError(`${name} is not installed`);
  const recipe = {
    libraries: (await runText(["ldd", program])).replaceAll(/ \(0x[0-9a-f]+\)/g, ""),
    version: await runText([program, "--version"]),
    sizeMiB,
  };
  const dir = await asset(`guest-installed-${name}`, recipe, async (out) => {
    const root = join(out, "root");
    await stageBusybox(root);
    await stageProgram(root, name);
    await makeExt4(join(out, "disk.raw"), sizeMiB, name, root);
    await rm(root, { recursive: true });
  });
  return join(dir, "disk.raw");
}

/** fio's; it comes with the libraries of all kinds of storage that it knows. To be made before an emulated host needs it. */
export const fioDisk = (): Promise<string> => installedProgramDisk("fio", 160);

/** Makes such a disk's program a command of the guest. */
export async function mountProgram(guest: Guest, device: string, name: string): Promise<void> {
  await guest.run(`modprobe ext4 && mkdir -p /opt/${name} && mount -t ext4 -o ro /dev/${device} /opt/${name}`);
  await guest.run(`for d in dev proc sys tmp; do mount --bind /$d /opt/${name}/$d || exit 1; done`);
  const command = `exec chroot /opt/${name} ${name} "$@"`;
  await guest.run(`{ echo '#!/bin/sh'; echo '${command}'; } >/bin/${name} && chmod +x /bin/${name}`);
}

/** Makes the program on a disk of a guest one of its commands: what follows its end does not matter to it. */
export async function installProgram(guest: Guest, device: string, name: string): Promise<void> {
  await guest.run(`cat /dev/${device} >/bin/${name} && chmod +x /bin/${name}`);
}
