import { closeSync, constants, openSync, readSync } from "node:fs";
import { VHDX_SIGNATURE } from "./image-format.ts";
import { isHeaderCounted } from "./qcow2/header-refcount.ts";
import { DEFAULT_REFCOUNT_ORDER, Header, Incompatible, MAX_REFCOUNT_ORDER, QCOW2_MAGIC } from "./qcow2/layout.ts";
import { placedCode } from "./qcow2/placed-code.ts";
import { qcow2RepairCode } from "./qcow2/repair-code.ts";
import { vhdxCode } from "./vhdx/code.ts";

/**
 * Loads what it takes to open an image and what few images need, which would take memory of every VM. To be awaited before the
 * image is opened; what is wrong with it is told then.
 */
export async function prepareImage(path: string): Promise<void> {
  const { head, isCounted } = lookAt(path);
  if (head.toString("latin1", 0, VHDX_SIGNATURE.length) === VHDX_SIGNATURE) await vhdxCode.load();
  const features = featuresOf(head);
  if (!isCounted || (features & (1 << Incompatible.DIRTY)) !== 0) await qcow2RepairCode.load();
  const placed = (1 << Incompatible.EXTENDED_L2) | (1 << Incompatible.EXTERNAL_DATA);
  if ((features & placed) !== 0) await placedCode.load();
}

/** The first bytes of a file, zeroes where it cannot be read, and whether it has what its header's cluster must have, if it is a qcow2 image. */
function lookAt(path: string): { readonly head: Buffer; readonly isCounted: boolean } {
  const head = Buffer.alloc(Header.V3_BYTES);
  try {
    // A FIFO would wait for its other end.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      readSync(fd, head, 0, head.length, 0);
      return { head, isCounted: !isQcow2(head) || isHeaderCounted(fd, ...placeOf(head)) };
    } finally {
      closeSync(fd);
    }
  } catch {
    return { head: head.fill(0), isCounted: true };
  }
}

const isQcow2 = (head: Buffer): boolean => head.readUInt32BE(Header.MAGIC) === QCOW2_MAGIC;

/** Where the refcount table lies, and the order of its refcounts. */
function placeOf(head: Buffer): [number, number] {
  const order =
    head.readUInt32BE(Header.VERSION) >= 3 ? head.readUInt32BE(Header.REFCOUNT_ORDER) : DEFAULT_REFCOUNT_ORDER;
  return [Number(head.readBigUInt64BE(Header.REFCOUNT_TABLE_OFFSET)), Math.min(order, MAX_REFCOUNT_ORDER)];
}

/** The lower incompatible features of a qcow2 image, by their bits; none of other images. */
const featuresOf = (head: Buffer): number =>
  isQcow2(head) && head.readUInt32BE(Header.VERSION) >= 3 ? head.readUInt32BE(Header.INCOMPATIBLE + 4) : 0;
