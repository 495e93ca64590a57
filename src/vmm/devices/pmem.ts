import type { PmemConfig } from "../../config/schema/virtio-devices.ts";
import { pmemDevice } from "../../devices/virtio/pmem/device.ts";
import { mapOver, munmap } from "../../host/mmap.ts";
import type { RamRegion } from "../../memory/guest-memory.ts";
import type { PciBuilder } from "./builder.ts";
import { type GuestFile, GuestFileError, mapGuestFile, openGuestFile } from "./guest-file.ts";

/** So that the guest can map it in huge pages. */
const SIZE_UNIT = 2 << 20;

/** Places a persistent memory device, and gives the guest its file as memory. @throws GuestFileError, BarSpaceError, SysError */
export function placePmem(builder: PciBuilder, config: PmemConfig): void {
  const id = builder.id(config.id, "_pmem");
  const { file: path, size, discard_writes: discardWrites } = config;
  checkSize(path, size);
  const file = openGuestFile({ option: "--pmem", path, size, discardWrites, temporary: true });
  builder.descriptors.own(file.fd);
  checkSize(path, file.size);
  const region = giveMemory(builder, file, discardWrites);
  const transport = builder.transport(id, pmemDevice(region));
  builder.wiring = { kind: "pmem", slot: builder.slot(config), device: { transport, region, fd: file.fd } };
}

function checkSize(path: string, size: number | undefined): void {
  if (size === undefined) return;
  if (size === 0) throw new GuestFileError(`${path} has no bytes: give --pmem a file of 2 MiB or more`);
  if (size % SIZE_UNIT !== 0)
    throw new GuestFileError(
      `the --pmem size of ${size} bytes for ${path} is not a multiple of 2 MiB: ` +
        `make it ${Math.ceil(size / SIZE_UNIT) * SIZE_UNIT}`,
    );
}

function giveMemory(builder: PciBuilder, file: GuestFile, discardWrites: boolean): RamRegion {
  const { owner } = builder;
  const { memorySlots, deviceMemory, vmOwner } = builder.resources;
  const { size } = file;
  const gpa = builder.memoryAddress(size);
  const hva = mapGuestFile(file, discardWrites);
  // Other devices reach it: they must never find something else at its address, only nothing.
  vmOwner.defer(() => munmap(hva, size));
  owner.defer(() => mapOver(hva, size));
  const region = { gpa, size, hva };
  deviceMemory.add(region);
  owner.defer(() => deviceMemory.remove(region));
  owner.adopt(memorySlots.add(region), (slot) => memorySlots.remove(slot));
  builder.memory.push(region);
  return region;
}
