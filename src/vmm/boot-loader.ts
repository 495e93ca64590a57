import type { PayloadConfig } from "../config/schema/payload.ts";
import type { VmConfig } from "../config/schema/vm.ts";
import { bootData } from "../machine/x86_64/boot/boot-data.ts";
import { loadInitramfs } from "../machine/x86_64/loader/initramfs.ts";
import { type LoadedKernel, loadKernel } from "../machine/x86_64/loader/kernel.ts";
import { buildMpTable } from "../machine/x86_64/mptable.ts";
import { SMBIOS_BASE } from "../machine/x86_64/platform.ts";
import { buildSmbios } from "../machine/x86_64/smbios.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { readFileInto } from "../memory/load-file.ts";
import { logger } from "../threads/log.ts";
import { acpiTables } from "./acpi.ts";
import type { MachinePlan } from "./machine-plan.ts";
import { renewGenerationId } from "./vm-generation-id.ts";

const log = logger("boot");

/** A VM without anything to boot. */
export class NothingToBootError extends Error {
  override readonly name = "NothingToBootError";
  constructor() {
    super("nothing to boot: give --kernel or --firmware");
  }
}

/**
 * Puts into guest RAM what a booting guest finds there: the kernel or firmware with its initramfs and command line, and the
 * tables that describe the machine.
 * @returns how the kernel is entered
 * @throws BootFileError, KernelImageError, BootSpaceError and the table builders' errors
 */
export async function loadBoot(config: VmConfig, plan: MachinePlan, memory: GuestMemory): Promise<LoadedKernel> {
  const { apicIds } = plan;
  const kernel = await loadPayload(config.payload ?? {}, plan, memory);
  const acpi = acpiTables(config, plan);
  memory.write(acpi.base, acpi.bytes);
  const smbios = buildSmbios(smbiosInputs(config));
  memory.write(SMBIOS_BASE, smbios);
  const mpTable = buildMpTable(config.cpus.boot_vcpus, apicIds, smbios.length);
  if (mpTable !== undefined) memory.write(mpTable.base, mpTable.bytes);
  renewGenerationId(memory);
  return kernel;
}

async function loadPayload(payload: PayloadConfig, plan: MachinePlan, memory: GuestMemory): Promise<LoadedKernel> {
  const { kernel: kernelPath, firmware: firmwarePath, initramfs: initramfsPath } = payload;
  const path = firmwarePath ?? kernelPath;
  if (path === undefined) throw new NothingToBootError();
  const bootMemory = {
    write: (gpa: number, bytes: Uint8Array) => memory.write(gpa, bytes),
    readFile: (fd: number, fileOffset: number, gpa: number, length: number) =>
      readFileInto(memory, fd, fileOffset, gpa, length),
    contains: (gpa: number, length: number) => memory.contains(gpa, length),
  };
  const kernel = await loadKernel(path, firmwarePath === undefined ? "kernel" : "firmware", bootMemory, {
    unpack: new Set(["gzip", "zstd", "lz4", "xz"]),
    debug: log.debug,
  });
  const initramfs =
    initramfsPath === undefined
      ? undefined
      : loadInitramfs(initramfsPath, bootMemory, plan.ram[0]?.size ?? 0, kernel.occupied);
  const cmdline = firmwarePath === undefined ? (payload.cmdline ?? "") : undefined;
  for (const { gpa, bytes } of bootData({ kernel, cmdline, initramfs, ram: plan.ram })) memory.write(gpa, bytes);
  return kernel;
}

function smbiosInputs({ platform }: VmConfig): Parameters<typeof buildSmbios>[0] {
  return {
    systemManufacturer: platform?.system_manufacturer,
    systemProductName: platform?.system_product_name,
    systemVersion: platform?.system_version,
    systemSerialNumber: platform?.system_serial_number,
    systemSkuNumber: platform?.system_sku_number,
    systemFamily: platform?.system_family,
    systemUuid: platform?.system_uuid,
    chassisAssetTag: platform?.chassis_asset_tag,
    oemStrings: platform?.oem_strings,
  };
}
