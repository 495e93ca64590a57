import { DiskImage } from "../../block/disk-image.ts";
import type { ImageFormat } from "../../block/image-format.ts";
import type { DiskConfig, ImageType } from "../../config/schema/disk.ts";
import { type BlockSettings, type BlockWiring, blockDevice } from "../../devices/virtio/block/device.ts";
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

/** Places a disk, each queue on a thread of its own. @throws DiskPathError, DiskImageError */
export function placeDisk(builder: PciBuilder, disk: DiskConfig): void {
  const id = builder.id(disk.id, "_disk");
  const settings = openDisk(builder, disk);
  const threads = Array.from({ length: settings.queues }, (_, i) => builder.thread(`${id}_q${i}`));
  // Firmware maps 4 GiB only, and looks for the disk that it boots from there.
  const barKind = builder.arrival === "at-boot" ? "memory32" : "memory64";
  const transport = builder.transport(id, blockDevice(settings), (queue) => threads[queue], barKind);
  const device: BlockWiring = { transport, settings };
  builder.wiring = { kind: "block", slot: builder.slot(disk), device };
  threads.forEach((thread, queue) => {
    const affinity = disk.queue_affinity?.find((entry) => entry.queue_index === queue)?.host_cpus;
    builder.queueThreads.push({ kind: "block", thread, device, queue, affinity });
  });
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
    engine: disk.disable_io_uring ? "synchronous" : "io_uring",
    queues,
    queueSize: disk.queue_size,
    sparse: disk.sparse,
    serial: new TextEncoder().encode(disk.serial ?? image.defaultSerial),
    protectFirstSector: image.protectFirstSector,
    gates: builder.gates(queues, disk.rate_limiter_config, disk.rate_limit_group),
  };
}
