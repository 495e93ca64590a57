import { DiskImage } from "../../block/disk-image.ts";
import type { ImageFormat } from "../../block/image-format.ts";
import type { IoEngineKind } from "../../block/load-engine.ts";
import type { DiskConfig, ImageType } from "../../config/schema/disk.ts";
import { type BlockSettings, type BlockWiring, blockDevice } from "../../devices/virtio/block/device.ts";
import { threadAffinity } from "../../host/thread.ts";
import { logger } from "../../threads/log.ts";
import type { PciBuilder } from "./builder.ts";

const log = logger("devices");

const FORMATS: Readonly<Record<ImageType, ImageFormat | undefined>> = {
  Raw: "raw",
  Qcow2: "qcow2",
  FixedVhd: "vhd",
  Vhdx: "vhdx",
  FlatVmdk: "vmdk",
  Unknown: undefined,
};

/** A disk without an image. */
export class DiskPathError extends Error {
  override readonly name = "DiskPathError";
  constructor(id: string | undefined) {
    super(`${id === undefined ? "a disk" : `disk '${id}'`} has no image: give --disk a path`);
  }
}

/** Places a disk. @throws DiskPathError, DiskImageError */
export function placeDisk(builder: PciBuilder, disk: DiskConfig): void {
  const id = builder.id(disk.id, "_disk");
  const settings = openDisk(builder, disk);
  const isPinned = (disk.queue_affinity ?? []).length > 0;
  const shares = queuesByThread(settings.queues, isPinned ? settings.queues : Math.floor(threadAffinity().length / 2));
  const threads = shares.map(([first]) => builder.thread(`${id}_q${first}`));
  // Firmware maps 4 GiB only, and looks for the disk that it boots from there.
  const barKind = builder.arrival === "at-boot" ? "memory32" : "memory64";
  const transport = builder.transport(id, blockDevice(settings), (queue) => threads[queue % threads.length], barKind);
  const device: BlockWiring = { transport, settings };
  builder.wiring = { kind: "block", slot: builder.slot(disk), device };
  threads.forEach((thread, i) => {
    const affinity = disk.queue_affinity?.find((entry) => entry.queue_index === i)?.host_cpus;
    builder.queueThreads.push({ kind: "block", thread, device, queues: shares[i] ?? [], affinity });
  });
}

/**
 * Which queues of a disk each of its threads serves: queue q is the thread's with number q modulo their count.
 * @param most threads there may be. A busy queue needs a CPU for the vCPU that fills it and one for its thread: more threads than
 *   half of the host's CPUs would take time from each other, and memory
 */
export function queuesByThread(queues: number, most: number): number[][] {
  const count = Math.max(1, Math.min(queues, most));
  const shares = Array.from({ length: count }, (): number[] => []);
  for (let queue = 0; queue < queues; queue++) shares[queue % count]?.push(queue);
  return shares;
}

function openDisk(builder: PciBuilder, disk: DiskConfig): BlockSettings {
  const { path } = disk;
  if (path === undefined || path === "") throw new DiskPathError(disk.id);
  const image = builder.owner.adopt(
    new DiskImage({
      path,
      readonly: disk.readonly,
      direct: disk.direct,
      format: FORMATS[disk.image_type],
      sparse: disk.sparse,
      lock: disk.lock_granularity === "Full" ? "full" : "byte-range",
      backingFiles: disk.backing_files,
      queues: Math.max(1, disk.num_queues),
    }),
    (open) => open.close(),
  );
  for (const warning of image.warnings) log.warn(warning);
  const queues = Math.max(1, disk.num_queues);
  return {
    image: image.image,
    engines: enginesFor(disk, image.format),
    queues,
    queueSize: disk.queue_size,
    sparse: disk.sparse,
    serial: new TextEncoder().encode(disk.serial ?? image.defaultSerial),
    protectFirstSector: image.protectFirstSector,
    gates: builder.gates(queues, disk.rate_limiter_config, disk.rate_limit_group),
  };
}

/** Engines for an image, from best to plainest. Linux AIO is for raw images only. */
export function enginesFor(
  disk: Pick<DiskConfig, "disable_io_uring" | "disable_aio">,
  format: ImageFormat,
): readonly IoEngineKind[] {
  const engines: IoEngineKind[] = [];
  if (!disk.disable_io_uring) engines.push("io_uring");
  if (!disk.disable_aio && format === "raw") engines.push("aio");
  return [...engines, "synchronous"];
}
