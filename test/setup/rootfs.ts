import { chmod, copyFile, mkdir, rm, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { findTool, run, runText, SetupError } from "./exec.ts";

async function copyInto(root: string, path: string): Promise<void> {
  const target = join(root, path);
  await mkdir(dirname(target), { recursive: true });
  await copyFile(path, target);
}

function requireTool(name: string): string {
  const path = findTool(name);
  if (path === undefined) throw new SetupError(`${name} is not installed on this machine`);
  return path;
}

/** Empty mount points, busybox and a link to it for each of its commands, all in `root/bin`. */
export async function stageBusybox(root: string): Promise<void> {
  for (const dir of ["bin", "dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp"]) {
    await mkdir(join(root, dir), { recursive: true });
  }
  await symlink("bin", join(root, "sbin"));
  const busybox = requireTool("busybox");
  await copyFile(busybox, join(root, "bin/busybox"));
  await chmod(join(root, "bin/busybox"), 0o755);
  for (const command of (await runText([busybox, "--list"])).split("\n")) {
    if (command !== "" && command !== "busybox") await symlink("busybox", join(root, "bin", command));
  }
}

/** Copies the shared libraries a program or library needs to where the loader looks for them. */
async function stageNeededLibraries(root: string, path: string): Promise<void> {
  // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)", and the loader itself: "/lib64/ld-linux-x86-64.so.2 (0x...)".
  for (const line of (await runText(["ldd", path])).split("\n")) {
    const library = /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1];
    if (library !== undefined) await copyInto(root, library);
  }
}

/** Copies an installed program to `root/bin`, in place of busybox's command of that name, and the shared libraries it needs. */
export async function stageProgram(root: string, name: string): Promise<void> {
  const program = requireTool(name);
  const target = join(root, "bin", basename(program));
  await rm(target, { force: true });
  await copyFile(program, target);
  await stageNeededLibraries(root, program);
}

/** Copies a shared library that programs load by themselves, by its absolute path, with what it needs. */
export async function stageLibrary(root: string, path: string): Promise<void> {
  await copyInto(root, path);
  await stageNeededLibraries(root, path);
}

/** Copies a script of this folder into the root and makes it executable. */
export async function stageScript(root: string, source: string, target: string): Promise<void> {
  await mkdir(dirname(join(root, target)), { recursive: true });
  await copyFile(source, join(root, target));
  await chmod(join(root, target), 0o755);
}

/** Packs a folder as an uncompressed initramfs (cpio "newc", owned by root). */
export async function packInitramfs(root: string, archive: string): Promise<void> {
  const names = (await runText(["find", ".", "-mindepth", "1"], { cwd: root }))
    .split("\n")
    .filter((name) => name !== "");
  const list = new TextEncoder().encode(`${names.sort().join("\n")}\n`);
  const data = await run(["cpio", "--quiet", "-o", "-H", "newc", "--owner=0:0", "--reproducible"], {
    cwd: root,
    stdin: list,
  });
  await Bun.write(archive, data);
}
