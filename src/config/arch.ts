/** Architectures that the VMM runs on, named as the kernel names them. */
export type Arch = "x86_64" | "aarch64";

/** The architecture of this machine; anything but AArch64 is taken for x86-64, which is all else that builds exist for. */
export function hostArch(): Arch {
  return process.arch === "arm64" ? "aarch64" : "x86_64";
}
