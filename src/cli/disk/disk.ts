import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { type ImageInfo, imageInfo } from "../../block/image-info.ts";
import { UsageError } from "../arguments.ts";
import { failureText } from "../error-chain.ts";
import { print } from "../print.ts";
import { ConversionError, convertToRaw } from "./convert.ts";

const SUCCESS = 0;
const FAILURE = 1;
const INTERRUPTED = 130;

const HELP = `Looks at and converts disk images.

Usage:
  cloud-hypervisor disk info [--json] <image>
  cloud-hypervisor disk convert [--verify] [--backing-files] <image> <new raw image>

info       Format and sizes of an image, also of one that a VM is using.
  --json           for programs
convert    Makes a raw image, with holes for zeroes, of a raw, qcow2 or fixed VHD image that no VM writes to.
  --verify         read both again and compare before the new image gets its name
  --backing-files  read the files that a qcow2 image names as those it is based on: only for images that you trust
`;
const HINT = "Try 'cloud-hypervisor disk --help'.\n";

/** The user asked to stop. */
class InterruptedError extends Error {
  override readonly name = "InterruptedError";
}

/**
 * The `cloud-hypervisor disk` command.
 * @param argv arguments after `disk`
 * @returns the exit status: 0, or 1 on failure, 2 on wrong usage, 130 when interrupted
 */
export async function runDiskTool(argv: readonly string[]): Promise<number> {
  try {
    return await run(argv);
  } catch (error) {
    if (error instanceof UsageError) {
      print("stderr", `error: ${error.message}\n\n${HINT}`);
      return 2;
    }
    print("stderr", failureText(error, "cloud-hypervisor disk"));
    return error instanceof InterruptedError ? INTERRUPTED : FAILURE;
  }
}

async function run([command, ...argv]: readonly string[]): Promise<number> {
  switch (command) {
    case "info": {
      const { flags, paths } = parse(argv, ["json"], ["an image"]);
      const info = imageInfo(paths[0] ?? "");
      print("stdout", flags.has("json") ? `${JSON.stringify(infoObject(info), undefined, 2)}\n` : infoText(info));
      return SUCCESS;
    }
    case "convert": {
      const { flags, paths } = parse(argv, ["verify", "backing-files"], ["an image", "a new raw image"]);
      await convert(flags, paths[0] ?? "", paths[1] ?? "");
      return SUCCESS;
    }
    case "-h":
    case "--help":
    case "help":
      print("stdout", HELP);
      return SUCCESS;
    case undefined:
      throw new UsageError("a command is required: info or convert");
    default:
      throw new UsageError(`unrecognized command '${command}', there are info and convert`);
  }
}

function parse(
  argv: readonly string[],
  flags: readonly string[],
  operands: readonly string[],
): { readonly flags: ReadonlySet<string>; readonly paths: readonly string[] } {
  const options = Object.fromEntries(flags.map((name) => [name, { type: "boolean" as const }]));
  let parsed: { values: object; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { positionals: paths } = parsed;
  if (paths.length !== operands.length || paths.includes(""))
    throw new UsageError(`give ${operands.join(" and ")}: ${paths.length} names are given`);
  return { flags: new Set(Object.keys(parsed.values)), paths };
}

/** What `--json` prints: sizes in bytes, and the names that qemu-img has for them. */
function infoObject({ path, format, diskBytes, allocatedBytes, qcow2 }: ImageInfo): object {
  return {
    filename: path,
    format,
    "virtual-size": diskBytes,
    "actual-size": allocatedBytes,
    ...(qcow2 && {
      "cluster-size": 2 ** qcow2.clusterBits,
      "dirty-flag": qcow2.isDirty,
      "corrupt-flag": qcow2.isCorrupt,
      snapshots: qcow2.snapshots,
      "compression-type": qcow2.compression,
      "backing-filename": qcow2.backing?.name,
      "backing-filename-format": qcow2.backing?.format,
    }),
  };
}

function infoText({ path, format, diskBytes, allocatedBytes, qcow2 }: ImageInfo): string {
  const size = diskBytes === undefined ? "unknown: this format is not supported" : `${diskBytes} bytes`;
  const rows: [string, string][] = [
    ["image", path],
    ["format", format],
    ["disk size", size],
    ["space used", `${allocatedBytes} bytes`],
  ];
  if (qcow2 !== undefined) {
    rows.push(["cluster size", `${2 ** qcow2.clusterBits} bytes`], ["snapshots", `${qcow2.snapshots}`]);
    if (qcow2.backing !== undefined) rows.push(["based on", qcow2.backing.name]);
    if (qcow2.isDirty) rows.push(["state", "was not closed properly"]);
    if (qcow2.isCorrupt) rows.push(["state", "is marked as corrupt"]);
  }
  return rows.map(([name, value]) => `${`${name}:`.padEnd(14)}${printable(value)}\n`).join("");
}

/** What an image says must not steer the terminal. */
const printable = (text: string): string => text.replaceAll(/\p{Cc}/gu, "?");

async function convert(flags: ReadonlySet<string>, source: string, target: string): Promise<void> {
  if (existsSync(target)) throw new ConversionError(`${target} exists: choose another name, or remove it`);
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new InterruptedError("interrupted: there is no new image"));
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, interrupt);
  try {
    await convertToRaw({
      source,
      target,
      backingFiles: flags.has("backing-files"),
      verify: flags.has("verify"),
      warn: (text) => print("stderr", `warning: ${printable(text)}\n`),
      signal: abort.signal,
      progress: process.stderr.isTTY ? progressBar() : () => undefined,
    });
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
    if (process.stderr.isTTY) print("stderr", "\r\x1b[K");
  }
}

const BAR_COLUMNS = 40;

/** Draws when the percentage changes. */
function progressBar(): (what: string, done: number, all: number) => void {
  let shown = "";
  return (what, done, all) => {
    const share = done / all;
    const bar = "#".repeat(Math.floor(share * BAR_COLUMNS)).padEnd(BAR_COLUMNS, ".");
    const text = `${what} [${bar}] ${Math.floor(share * 100)} %`;
    if (text !== shown) print("stderr", `\r\x1b[K${text}`);
    shown = text;
  };
}
