import { chmod, mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { $ } from "bun";
import { sealRuntime } from "./seal-runtime.ts";

/** Builds dist/cloud-hypervisor, one self-contained executable, and dist/ch-remote, the same under its other name. */

const OUT = "dist/cloud-hypervisor";
const UNSEALED = `${OUT}.unsealed`;
const ENTRIES = [
  "src/main.ts",
  "src/vmm/workers/vcpu.ts",
  "src/vmm/workers/io.ts",
  "src/vmm/workers/block.ts",
  "src/vmm/workers/net.ts",
  "src/vmm/workers/core-dump.ts",
  "src/threads/workers/fd-watcher.ts",
];

/** What is never read from the folder that the executable is run in. */
const NOTHING_LOADED = ["dotenv", "bunfig", "tsconfig", "package-json"].map((what) => `--no-compile-autoload-${what}`);

async function buildVersion(): Promise<string> {
  const described = await $`git describe --dirty --tags`.quiet().nothrow();
  const { version } = await Bun.file("package.json").json();
  const base = described.exitCode === 0 ? described.text().trim() : `v${version}`;
  const extra = process.env["CH_EXTRA_VERSION"];
  return extra === undefined ? base : `${base}-${extra}`;
}

process.chdir(import.meta.dir);
await mkdir("dist", { recursive: true });
const version = JSON.stringify(await buildVersion());
await $`${process.execPath} build --compile --bytecode --splitting --format=esm --minify ${NOTHING_LOADED} --define CH_BUILD_VERSION=${version} ${ENTRIES} --outfile ${UNSEALED}`.quiet();
const executable = await readFile(UNSEALED);
sealRuntime(executable);
await writeFile(UNSEALED, executable);
await chmod(UNSEALED, 0o755);
await rename(UNSEALED, OUT);
await rm("dist/ch-remote", { force: true });
await symlink("cloud-hypervisor", "dist/ch-remote");
console.log(`${OUT}: ${version.slice(1, -1)}`);
