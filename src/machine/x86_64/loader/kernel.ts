import { SysError } from "../../../host/errno.ts";
import { mapAnonymous, munmap } from "../../../host/mmap.ts";
import type { Gpa } from "../../../memory/address.ts";
import type { GpaRange } from "../../acpi/topology.ts";
import { BootFile } from "./boot-file.ts";
import type { BootMemory } from "./boot-memory.ts";
import { type BzImage, isBzImage, parseBzImage } from "./bzimage.ts";
import { isElf, type LoadSegment, type PvhImage, parsePvhElf } from "./elf.ts";
import { BootSpaceError, KernelImageError } from "./errors.ts";
import { ImageInMemory } from "./image-bytes.ts";
import type { PayloadFormat } from "./unpack/payload.ts";
import { UnpackError } from "./unpack/unpack-error.ts";

/** A kernel or firmware in guest memory, and how it is entered. */
export type LoadedKernel =
  | { readonly protocol: "pvh"; readonly entry: Gpa; readonly occupied: readonly GpaRange[] }
  | {
      /** The 32-bit boot protocol of Linux. */
      readonly protocol: "linux";
      readonly entry: Gpa;
      /** Bytes for the zero page, from offset 1F1h on. */
      readonly setupHeader: Uint8Array;
      readonly occupied: readonly GpaRange[];
    };

export interface LoadKernelOptions {
  /** Which compressions of a bzImage are undone here rather than by the kernel itself. */
  readonly unpack: ReadonlySet<PayloadFormat>;
  /** Told why a bzImage is not unpacked here. */
  readonly debug?: ((message: string) => void) | undefined;
}

/**
 * Loads `--kernel` or `--firmware`: an ELF with a PVH note or a bzImage. Nothing is written before the whole image has been
 * checked.
 * @throws BootFileError where the file cannot be read, KernelImageError where it is no kernel, BootSpaceError where it does
 * not fit guest RAM
 */
export async function loadKernel(
  path: string,
  role: "kernel" | "firmware",
  memory: BootMemory,
  options: LoadKernelOptions,
): Promise<LoadedKernel> {
  using file = new BootFile(path, role);
  try {
    return await load(file, memory, options);
  } catch (cause) {
    if (cause instanceof KernelImageError)
      throw new KernelImageError(
        `the ${role} ${path} cannot be booted: give --${role} an ELF file with a PVH note or a bzImage`,
        { cause },
      );
    if (cause instanceof BootSpaceError)
      throw new BootSpaceError(`the ${role} ${path} does not fit guest RAM: give --memory a larger size`, { cause });
    throw cause;
  }
}

async function load(file: BootFile, memory: BootMemory, options: LoadKernelOptions): Promise<LoadedKernel> {
  if (file.size === 0) throw new KernelImageError("the file is empty");
  if (!isElf(file)) {
    if (isBzImage(file)) return loadBzImage(file, parseBzImage(file), memory, options);
    throw new KernelImageError("the file is neither ELF nor a bzImage");
  }
  try {
    return loadPvh(parsePvhElf(file), memory, ({ fileOffset, fileSize, gpa }) =>
      memory.readFile(file.fd, fileOffset, gpa, fileSize),
    );
  } catch (error) {
    if (error instanceof KernelImageError && isBzImage(file))
      return loadBzImage(file, parseBzImage(file), memory, options);
    throw error;
  }
}

function loadPvh(
  { segments, entry }: PvhImage,
  memory: BootMemory,
  copy: (segment: LoadSegment) => void,
): LoadedKernel {
  for (const { gpa, memorySize } of segments) checkSpace(memory, gpa, memorySize);
  if (!memory.contains(entry, 1))
    throw new KernelImageError(`the PVH entry point 0x${entry.toString(16)} is outside guest RAM`);
  for (const segment of segments) if (segment.fileSize > 0) copy(segment);
  const occupied = segments.map(({ gpa, memorySize }) => ({ base: gpa, length: memorySize }));
  return { protocol: "pvh", entry, occupied };
}

async function loadBzImage(
  file: BootFile,
  image: BzImage,
  memory: BootMemory,
  options: LoadKernelOptions,
): Promise<LoadedKernel> {
  try {
    const kernel = await loadUnpacked(file, image, memory, options.unpack);
    if (typeof kernel !== "string") return kernel;
    options.debug?.(`the ${file.role} unpacks itself: ${kernel}`);
  } catch (error) {
    if (!isReasonToFallBack(error)) throw error;
    options.debug?.(`the ${file.role} unpacks itself: ${error.message}`);
  }
  const { code, loadAddress, setupHeader } = image;
  checkSpace(memory, loadAddress, code.size);
  memory.readFile(file.fd, code.fileOffset, loadAddress, code.size);
  return {
    protocol: "linux",
    entry: loadAddress,
    setupHeader,
    occupied: [{ base: loadAddress, length: code.size }],
  };
}

/** What cannot be unpacked here may still know how to unpack itself. */
function isReasonToFallBack(error: unknown): error is Error {
  return (
    error instanceof KernelImageError ||
    error instanceof BootSpaceError ||
    error instanceof SysError ||
    error instanceof UnpackError
  );
}

/** A kernel that unpacks to more than this does so itself. */
const MAX_UNPACKED_BYTES = 512 << 20;
const MAGIC_BYTES = 6;

/** The fast way: the ELF inside a bzImage, entered by PVH. @returns the kernel, or why this way is closed */
async function loadUnpacked(
  file: BootFile,
  { payload }: BzImage,
  memory: BootMemory,
  unpack: ReadonlySet<PayloadFormat>,
): Promise<LoadedKernel | string> {
  if (unpack.size === 0) return "nothing is unpacked here";
  if (payload === undefined) return "its header names no payload";
  if (payload.size < MAGIC_BYTES + 4 || payload.size > MAX_UNPACKED_BYTES) return `a payload of ${payload.size} bytes`;
  const { payloadFormat, unpackPayload } = await import("./unpack/payload.ts");
  const format = payloadFormat(file.read(payload.fileOffset, MAGIC_BYTES));
  if (format === undefined) return "its compression is not known here";
  if (!unpack.has(format)) return `${format} is left to it`;

  const packed = mapAnonymous(payload.size);
  try {
    file.readInto(payload.fileOffset, packed.u8.subarray(0, payload.size));
    // The build leaves the unpacked size behind the compressed data; in gzip it is part of the data.
    const size = packed.view.getUint32(payload.size - 4, true);
    if (size === 0 || size > payload.initSize || size > MAX_UNPACKED_BYTES) return `an unpacked size of ${size} bytes`;
    const data = packed.u8.subarray(0, format === "gzip" ? payload.size : payload.size - 4);
    using unpacked = await unpackPayload(format, data, size);
    const image = new ImageInMemory(unpacked.bytes);
    return loadPvh(parsePvhElf(image), memory, ({ fileOffset, fileSize, gpa }) =>
      memory.write(gpa, image.read(fileOffset, fileSize)),
    );
  } finally {
    munmap(packed.address, packed.size);
  }
}

function checkSpace(memory: BootMemory, gpa: number, length: number): void {
  if (!memory.contains(gpa, length))
    throw new BootSpaceError(`0x${length.toString(16)} bytes at 0x${gpa.toString(16)} are not wholly inside guest RAM`);
}
