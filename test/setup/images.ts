import { truncate } from "node:fs/promises";
import { run } from "./exec.ts";

const MIB = 1024 * 1024;
const PARTITION_START_MIB = 1;
/** Room after the partition for the backup GPT. */
const TAIL_MIB = 1;

/** Byte offset of the root partition in images made by `makeRootDisk`; e2fsck takes it as `image?offset=N`. */
export const ROOT_PARTITION_OFFSET = PARTITION_START_MIB * MIB;

/** Makes a sparse file of that size with an ext4 file system in it, filled from a folder if one is given. */
export async function makeExt4(image: string, sizeMiB: number, label: string, contents?: string): Promise<void> {
  await Bun.write(image, "");
  await truncate(image, sizeMiB * MIB);
  await run([
    ...(["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-E", "lazy_itable_init=0,root_owner=0:0"] as const),
    ...(contents === undefined ? [] : ["-d", contents]),
    image,
  ]);
}

/** Makes a raw GPT disk whose partition 1 is an ext4 file system with the contents of `root`. Needs no privileges. */
export async function makeRootDisk(image: string, root: string, fileSystemMiB: number): Promise<void> {
  const fileSystem = `${image}.ext4`;
  await makeExt4(fileSystem, fileSystemMiB, "root", root);
  await Bun.write(image, "");
  await truncate(image, (PARTITION_START_MIB + fileSystemMiB + TAIL_MIB) * MIB);
  const layout = `label: gpt\nstart=${PARTITION_START_MIB}MiB, size=${fileSystemMiB}MiB, type=linux, name=root\n`;
  await run(["sfdisk", "-q", image], { stdin: new TextEncoder().encode(layout) });
  const copy = ["dd", `if=${fileSystem}`, `of=${image}`, "bs=1M", `seek=${PARTITION_START_MIB}`] as const;
  await run([...copy, "conv=notrunc,sparse", "status=none"]);
  await run(["rm", fileSystem]);
}

/** Checks an ext4 file system without changing it. Throws with e2fsck's findings when it is not clean. */
export async function checkExt4(image: string, offset = 0): Promise<void> {
  await run(["e2fsck", "-f", "-n", offset === 0 ? image : `${image}?offset=${offset}`]);
}
