/** Runs one of QEMU's tools. @throws Error with what it said when it fails */
export function qemu(tool: "qemu-img" | "qemu-io", ...args: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([tool, ...args], { stdin: "ignore" });
  const text = `${stdout}${stderr}`;
  if (exitCode !== 0) throw new Error(`${tool} ${args.join(" ")}: status ${exitCode}\n${text}`);
  return text;
}

/** Has QEMU look for errors and leaks in an image. @throws Error when it finds any */
export function checkImage(path: string, format: "qcow2" | "vhdx" = "qcow2"): void {
  qemu("qemu-img", "check", "-q", "-f", format, path);
}

/** What QEMU reads from an image. */
export async function contentsOf(
  path: string,
  scratch: string,
  format: "qcow2" | "vhdx" = "qcow2",
): Promise<Uint8Array> {
  qemu("qemu-img", "convert", "-f", format, "-O", "raw", path, scratch);
  return Bun.file(scratch).bytes();
}
