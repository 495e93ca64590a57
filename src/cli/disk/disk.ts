import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { type ImageInfo, imageInfo } from "../../block/image-info.ts";
import { prepareImage } from "../../block/prepare-image.ts";
import { ENTRY_BYTES, SUBCLUSTERS } from "../../block/qcow2/layout.ts";
import { UsageError } from "../arguments.ts";
import { failureText } from "../error-chain.ts";
import { print } from "../print.ts";
import {
  DISK_COMMANDS,
  type DiskCommand,
  type DiskCommandName,
  diskHelp,
  IMAGE_FORMATS,
  isDiskCommand,
  PREALLOCATIONS,
  REPAIRS,
} from "./commands.ts";
import { ConversionError, convertImage } from "./convert.ts";

const SUCCESS = 0;
const FAILURE = 1;
const WRONG_USAGE = 2;
const INTERRUPTED = 130;
/** Of a check, as qemu-img has them. */
const CORRUPT = 2;
const LEAKS = 3;
const NOT_FOR_FORMAT = 63;

const HINT = "Try 'cloud-hypervisor disk --help'.\n";

/** The user asked to stop. */
class InterruptedError extends Error {
  override readonly name = "InterruptedError";
}

/**
 * The `cloud-hypervisor disk` command.
 * @param argv arguments after `disk`
 * @returns the exit status: 0, or 1 on failure, 2 on wrong usage, 130 when interrupted; a check has its own, see the help
 */
export async function runDiskTool(argv: readonly string[]): Promise<number> {
  try {
    return await run(argv);
  } catch (error) {
    if (error instanceof UsageError) {
      print("stderr", `error: ${error.message}\n\n${HINT}`);
      // Of a check, 2 says that the image is corrupt.
      return argv[0] === "check" ? FAILURE : WRONG_USAGE;
    }
    print("stderr", failureText(error, "cloud-hypervisor disk"));
    return error instanceof InterruptedError ? INTERRUPTED : FAILURE;
  }
}

async function run([command, ...argv]: readonly string[]): Promise<number> {
  const names = Object.keys(DISK_COMMANDS).join(", ");
  if (command === undefined) throw new UsageError(`a command is required: ${names}`);
  if (command === "-h" || command === "--help" || command === "help") {
    print("stdout", diskHelp());
    return SUCCESS;
  }
  if (!isDiskCommand(command)) throw new UsageError(`unrecognized command '${command}', there are ${names}`);
  const given = parse(command, argv);
  switch (command) {
    case "info":
      await info(given);
      return SUCCESS;
    case "check":
      return check(given);
    case "create":
      await create(given);
      return SUCCESS;
    case "convert":
      await convert(given);
      return SUCCESS;
  }
}

async function info({ flags, paths: [path = ""] }: Given): Promise<void> {
  await prepareImage(path);
  const found = imageInfo(path);
  print("stdout", flags.has("json") ? `${JSON.stringify(infoObject(found), undefined, 2)}\n` : infoText(found));
}

async function create(given: Given): Promise<void> {
  const [target = "", size] = given.paths;
  const { createImage } = await import("./create.ts");
  const name = given.values.get("backing-file");
  const backingFormat = oneOf("backing-format", IMAGE_FORMATS, given.values);
  if ((name === undefined) !== (backingFormat === undefined))
    throw new UsageError("--backing-file and --backing-format are given together");
  const format = oneOf("format", IMAGE_FORMATS, given.values) ?? "raw";
  checkAbsent(target);
  await createImage({
    target,
    format,
    size: size === undefined ? undefined : byteCount("size", size),
    clusterBytes: clusterBytesOf(format, given.values),
    backing: name === undefined || backingFormat === undefined ? undefined : { name, format: backingFormat },
    preallocation: oneOf("preallocation", PREALLOCATIONS, given.values) ?? "off",
  });
}

function oneOf<T extends string>(name: string, choices: readonly T[], values: Values): T | undefined {
  const value = values.get(name);
  const found = choices.find((choice) => choice === value);
  if (value !== undefined && found === undefined)
    throw new UsageError(`--${name} is ${choices.join(" or ")}, not '${value}'`);
  return found;
}

function clusterBytesOf(format: "raw" | "qcow2", values: Values): number | undefined {
  const text = values.get("cluster-size");
  if (text !== undefined && format === "raw") throw new UsageError("--cluster-size is for --format qcow2");
  return text === undefined ? undefined : byteCount("--cluster-size", text);
}

const SUFFIXES = "KMGT";

/** A number of bytes with an optional suffix, which numbers hold exactly. */
function byteCount(what: string, text: string): number {
  const [, digits, suffix = ""] = /^(\d+)([KMGT]?)$/.exec(text) ?? [];
  const value = digits === undefined ? Number.NaN : Number(digits) * 1024 ** (SUFFIXES.indexOf(suffix || " ") + 1);
  if (!Number.isSafeInteger(value)) throw new UsageError(`${what} is a number of bytes such as 1048576, 512M or 4G`);
  return value;
}

type Values = ReadonlyMap<string, string>;

interface Given {
  readonly flags: ReadonlySet<string>;
  readonly values: Values;
  readonly paths: readonly string[];
}

function parse(command: DiskCommandName, argv: readonly string[]): Given {
  const { operands, options: known }: DiskCommand = DISK_COMMANDS[command];
  const options = Object.fromEntries(
    known.map(({ name, label }) => [name, { type: label === undefined ? ("boolean" as const) : ("string" as const) }]),
  );
  let parsed: { values: Readonly<Record<string, unknown>>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { positionals: paths } = parsed;
  const required = operands.filter(({ optional }) => optional !== true);
  if (paths.length < required.length || paths.length > operands.length || paths.includes(""))
    throw new UsageError(`give ${operands.map(({ what }) => what).join(" and ")}: ${paths.length} arguments are given`);
  const given = Object.entries(parsed.values);
  return {
    flags: new Set(given.filter(([, value]) => value === true).map(([name]) => name)),
    values: new Map(given.flatMap(([name, value]) => (typeof value === "string" ? [[name, value] as const] : []))),
    paths,
  };
}

/** What `--json` prints: sizes in bytes, and the names that qemu-img has for them. */
function infoObject({ path, format, diskBytes, allocatedBytes, qcow2, vhdx }: ImageInfo): object {
  return {
    filename: path,
    format,
    "virtual-size": diskBytes,
    "actual-size": allocatedBytes,
    ...(qcow2 && {
      "cluster-size": 2 ** qcow2.clusterBits,
      "extended-l2": qcow2.entryBytes !== ENTRY_BYTES,
      "dirty-flag": qcow2.isDirty,
      "corrupt-flag": qcow2.isCorrupt,
      snapshots: qcow2.snapshots,
      "compression-type": qcow2.compression,
      "data-file": qcow2.dataFile?.name,
      "data-file-raw": qcow2.dataFile?.isRaw,
      "backing-filename": qcow2.backing?.name,
      "backing-filename-format": qcow2.backing?.format,
    }),
    ...(vhdx && { "cluster-size": vhdx.blockBytes, subformat: vhdx.isFixed ? "fixed" : "dynamic" }),
  };
}

function infoText({ path, format, diskBytes, allocatedBytes, qcow2, vhdx }: ImageInfo): string {
  const size = diskBytes === undefined ? "unknown: this format is not supported" : `${diskBytes} bytes`;
  const rows: [string, string][] = [
    ["image", path],
    ["format", format],
    ["disk size", size],
    ["space used", `${allocatedBytes} bytes`],
  ];
  if (qcow2 !== undefined) {
    const clusterBytes = 2 ** qcow2.clusterBits;
    const parts = qcow2.entryBytes === ENTRY_BYTES ? "" : `, in subclusters of ${clusterBytes / SUBCLUSTERS}`;
    rows.push(["cluster size", `${clusterBytes} bytes${parts}`], ["snapshots", `${qcow2.snapshots}`]);
    if (qcow2.dataFile !== undefined)
      rows.push(["data in", qcow2.dataFile.name + (qcow2.dataFile.isRaw ? ", a raw image" : "")]);
    if (qcow2.backing !== undefined) rows.push(["based on", qcow2.backing.name]);
    if (qcow2.isDirty) rows.push(["state", "was not closed properly"]);
    if (qcow2.isCorrupt) rows.push(["state", "is marked as corrupt"]);
  }
  if (vhdx !== undefined) {
    rows.push(["kind", vhdx.isFixed ? "fixed" : "dynamic"], ["block size", `${vhdx.blockBytes} bytes`]);
    rows.push(["sector size", `${vhdx.logicalSector} bytes, physically ${vhdx.physicalSector}`]);
  }
  return rows.map(([name, value]) => `${`${name}:`.padEnd(14)}${printable(value)}\n`).join("");
}

/** What an image says must not steer the terminal. */
const printable = (text: string): string => text.replaceAll(/\p{Cc}/gu, "?");

function checkAbsent(target: string): void {
  if (existsSync(target)) throw new ConversionError(`${target} exists: choose another name, or remove it`);
}

async function convert({ flags, values, paths: [source = "", target = ""] }: Given): Promise<void> {
  const to = oneOf("format", IMAGE_FORMATS, values) ?? "raw";
  const clusterBytes = clusterBytesOf(to, values);
  checkAbsent(target);
  await interruptibly("interrupted: there is no new image", (signal, progress) =>
    convertImage({
      source,
      target,
      to,
      clusterBytes,
      backingFiles: flags.has("backing-files"),
      verify: flags.has("verify"),
      warn: (text) => print("stderr", `warning: ${printable(text)}\n`),
      signal,
      progress,
    }),
  );
}

async function check({ values, paths: [path = ""] }: Given): Promise<number> {
  const repair = oneOf("repair", REPAIRS, values);
  const [{ checkImage }, { checkReport }] = await Promise.all([import("./check.ts"), import("./check-report.ts")]);
  const { format, findings, before } = await interruptibly(
    `interrupted: the ${repair === undefined ? "check" : "repair"} is not complete`,
    (signal, progress) => checkImage(path, { signal, repair, progress: (done, all) => progress("check", done, all) }),
  );
  if (findings === undefined) {
    print("stderr", `${printable(path)} is a ${format} image: there is no check for this format\n`);
    return NOT_FOR_FORMAT;
  }
  const { corruptions, broken, leaks } = findings;
  print("stdout", `${checkReport({ format, findings, before }).map(printable).join("\n")}\n`);
  if (broken > 0)
    print("stderr", "what refers to nothing that can be is not repaired: save what can be read with disk convert\n");
  if (corruptions > 0) return CORRUPT;
  return leaks > 0 ? LEAKS : SUCCESS;
}

type Progress = (what: string, done: number, all: number) => void;

/** Runs what takes long: with a progress bar on a terminal, and until the user stops it. */
async function interruptibly<T>(
  outcome: string,
  work: (signal: AbortSignal, progress: Progress) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new InterruptedError(outcome));
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, interrupt);
  try {
    return await work(abort.signal, process.stderr.isTTY ? progressBar() : () => undefined);
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
    if (process.stderr.isTTY) print("stderr", "\r\x1b[K");
  }
}

const BAR_COLUMNS = 40;

/** Draws when the percentage changes. */
function progressBar(): Progress {
  let shown = "";
  return (what, done, all) => {
    const share = done / all;
    const bar = "#".repeat(Math.floor(share * BAR_COLUMNS)).padEnd(BAR_COLUMNS, ".");
    const text = `${what} [${bar}] ${Math.floor(share * 100)} %`;
    if (text !== shown) print("stderr", `\r\x1b[K${text}`);
    shown = text;
  };
}
