import { closeSync, fstatSync } from "node:fs";
import { DiskImageError } from "../../block/image-error.ts";
import { PosixImageFile } from "../../block/image-file.ts";
import { detectFormat } from "../../block/image-format.ts";
import { lockImage } from "../../block/image-lock.ts";
import { openImageFile } from "../../block/open-file.ts";
import { prepareImage } from "../../block/prepare-image.ts";
import { type CheckedImage, type CheckOptions, checkQcow2, type Qcow2Findings } from "../../block/qcow2/check.ts";
import { readHeader } from "../../block/qcow2/open.ts";
import { type RepairKind, repairQcow2 } from "../../block/qcow2/repair.ts";
import { blockDeviceSize } from "../../block/topology.ts";
import { fixedVhdSize } from "../../block/vhd-footer.ts";
import { vhdxCode } from "../../block/vhdx/code.ts";

/** What a check of a qcow2 image came to. */
export type ImageFindings = Qcow2Findings & { readonly isDirty: boolean; readonly isCorrupt: boolean };

/** Findings are undefined for a format that has nothing to be checked here. */
export interface CheckOutcome {
  readonly format: string;
  readonly findings: ImageFindings | undefined;
  /** What was found before a repair that has changed the image. */
  readonly before: ImageFindings | undefined;
}

export interface CheckRequest extends CheckOptions {
  /** What is to be mended, if anything. */
  readonly repair?: RepairKind | undefined;
}

/**
 * Looks for what is wrong with an image, and mends it where that is asked for. The image must not be in use for writing, for a
 * repair not at all; without one it is only read.
 * @throws DiskImageError when it cannot be checked or repaired, ImageIoError, the signal's reason
 */
export async function checkImage(path: string, { repair, ...options }: CheckRequest): Promise<CheckOutcome> {
  await prepareImage(path);
  using resources = new DisposableStack();
  const fd = resources.adopt(openImageFile(path, repair === undefined, 0), closeSync);
  const format = detectFormat(path, fd, fileSizeOf(fd));
  if (format !== "qcow2" && format !== "vhdx" && format !== "vhd")
    return { format, findings: undefined, before: undefined };
  if (format !== "qcow2" && repair !== undefined)
    throw new DiskImageError(
      path,
      `is a ${format} image, only qcow2 images can be repaired: check it without --repair`,
    );
  lockImage(path, fd, repair === undefined, 0);
  if (format !== "qcow2") return { format, findings: describedFindings(path, fd, format), before: undefined };
  const image = imageOf(path, fd);
  const found = await checkQcow2(image, options);
  const findings = { ...found, ...marksOf(image) };
  if (repair === undefined || isInOrder(findings)) return { format, findings, before: undefined };
  await repairInTurns(image, repair, options);
  const repaired = imageOf(path, fd);
  const left = { ...(await checkQcow2(repaired, options)), ...marksOf(repaired) };
  return { format, findings: left, before: findings };
}

function fileSizeOf(fd: number): number {
  const stat = fstatSync(fd);
  return (stat.isBlockDevice() ? blockDeviceSize(fd) : stat.size) ?? 0;
}

/** Of an image without refcounts: the first thing in its metadata that cannot be right. */
function describedFindings(path: string, fd: number, format: "vhd" | "vhdx"): ImageFindings {
  const none = { corruptions: 0, broken: 0, leaks: 0, examples: [], isDirty: false, isCorrupt: false };
  try {
    if (format === "vhdx") return { ...none, isDirty: !vhdxCode.for(path).checkVhdx(path, fd, fileSizeOf(fd)) };
    fixedVhdSize(path, fd, fileSizeOf(fd));
    return none;
  } catch (error) {
    if (!(error instanceof DiskImageError) || error.cause !== undefined) throw error;
    return { ...none, corruptions: 1, broken: 1, examples: [error.message] };
  }
}

function imageOf(path: string, fd: number): CheckedImage {
  const fileSize = fileSizeOf(fd);
  return { path, fd, fileSize, header: readHeader(path, fd, fileSize) };
}

const marksOf = ({ header: { isDirty, isCorrupt } }: CheckedImage) => ({ isDirty, isCorrupt });

const isInOrder = ({ corruptions, leaks, isDirty, isCorrupt }: ImageFindings): boolean =>
  corruptions + leaks === 0 && !isDirty && !isCorrupt;

/** Interrupted, it leaves an image that is no worse. */
async function repairInTurns(image: CheckedImage, kind: RepairKind, { signal, window }: CheckOptions): Promise<void> {
  for (const _ of repairQcow2({ ...image, file: new PosixImageFile(image.fd) }, { kind, window })) {
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
  }
}
