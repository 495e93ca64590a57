import type { IvshmemConfig } from "../../config/schema/host-devices.ts";
import { IVSHMEM_REGISTER_BYTES, Ivshmem } from "../../devices/ivshmem.ts";
import { munmap, PAGE_SIZE } from "../../host/mmap.ts";
import type { PciBuilder } from "./builder.ts";
import { GuestFileError, mapGuestFile, openGuestFile } from "./guest-file.ts";

const IVSHMEM_ID = "__ivshmem";

/** Places the shared memory device. @throws GuestFileError, BarSpaceError, SysError */
export function placeIvshmem(builder: PciBuilder, config: IvshmemConfig): void {
  const { descriptors, owner } = builder;
  const { path, size } = config;
  if (size < PAGE_SIZE)
    throw new GuestFileError(`the --ivshmem size of ${size} bytes is less than a page: give 4K or more`);
  const file = openGuestFile({ option: "--ivshmem", path, size, discardWrites: false, temporary: false });
  descriptors.own(file.fd);
  const hva = mapGuestFile(file, false);
  owner.defer(() => munmap(hva, size));
  const device = {
    id: builder.id(config.id ?? IVSHMEM_ID),
    block: builder.block(Ivshmem.blockSize),
    bar0: builder.bar("memory32", IVSHMEM_REGISTER_BYTES),
    bar2: builder.bar("memory64", size),
    size,
    hva,
    memorySlot: builder.resources.memorySlots.take(),
  };
  builder.wiring = { kind: "ivshmem", slot: builder.slot(config), device };
}
