import type { FwCfgConfig, FwCfgItem as UserItem } from "../config/schema/payload.ts";
import type { VmConfig } from "../config/schema/vm.ts";
import { FwCfg, type FwCfgContent, type FwCfgItem, type FwCfgWiring } from "../devices/fw-cfg.ts";
import { ByteWriter } from "../machine/byte-writer.ts";
import { loadableTables, RSDP_FILE, TABLES_FILE } from "../machine/x86_64/acpi/table-loader.ts";
import { BootFile } from "../machine/x86_64/loader/boot-file.ts";
import { isBzImage, parseBzImage, SetupHeader } from "../machine/x86_64/loader/bzimage.ts";
import { encodeCmdline } from "../machine/x86_64/loader/cmdline.ts";
import { fwCfgMemoryMap } from "../machine/x86_64/memory-map.ts";
import { ramEnd } from "../machine/x86_64/ram-placement.ts";
import type { SharedArena } from "../threads/arena.ts";
import { refTo } from "../threads/block-ref.ts";
import { acpiTables } from "./acpi.ts";
import type { Descriptors } from "./descriptors.ts";
import { openGuestFile } from "./devices/guest-file.ts";
import type { MachinePlan } from "./machine-plan.ts";

/** Keys (QEMU, include/standard-headers/linux/qemu_fw_cfg.h). */
const Key = {
  SIGNATURE: 0x00,
  FEATURES: 0x01,
  KERNEL_SIZE: 0x08,
  INITRD_SIZE: 0x0b,
  KERNEL_DATA: 0x11,
  INITRD_DATA: 0x12,
  CMDLINE_SIZE: 0x14,
  CMDLINE_DATA: 0x15,
  SETUP_SIZE: 0x17,
  SETUP_DATA: 0x18,
  DIRECTORY: 0x19,
  FIRST_FILE: 0x20,
} as const;

/** Items are read by port, and by DMA. */
const FEATURES = 0b11;
const NAME_BYTES = 56;
const MAX_FILES = 0x3fe0;
const MAX_BYTES = 0xffff_ffff;
/** Boot loaders without an assigned number. */
const LOADER_UNDEFINED = 0xff;
const DEFAULT_SETUP_SECTORS = 4;

/** Something that the firmware configuration device cannot hold. */
export class FwCfgError extends Error {
  override readonly name = "FwCfgError";
}

/**
 * Collects what the firmware configuration device gives the guest.
 * @throws FwCfgError, GuestFileError, BootFileError, KernelImageError, BootSpaceError
 */
export function wireFwCfg(
  config: VmConfig,
  settings: FwCfgConfig,
  host: { readonly plan: MachinePlan; readonly arena: SharedArena; readonly descriptors: Descriptors },
): FwCfgWiring {
  const items = new Items(host.arena, host.descriptors);
  items.add(Key.SIGNATURE, new TextEncoder().encode("QEMU CFG"));
  items.addNumber(Key.FEATURES, FEATURES);
  const { kernel, initramfs, cmdline } = config.payload ?? {};
  if (settings.kernel && kernel !== undefined) addKernel(items, kernel);
  if (settings.initramfs && initramfs !== undefined) addInitramfs(items, initramfs);
  if (settings.cmdline && cmdline !== undefined) {
    const text = encodeCmdline(cmdline);
    items.addNumber(Key.CMDLINE_SIZE, text.length);
    items.add(Key.CMDLINE_DATA, text);
  }
  if (settings.e820) items.addFile("etc/e820", memoryMap(host.plan));
  for (const item of settings.items?.item_list ?? []) addUserItem(items, item);
  if (settings.acpi_tables) {
    const { loader, rsdp, tables } = loadableTables(acpiTables(config, host.plan));
    items.addFile("etc/table-loader", loader);
    items.addFile(RSDP_FILE, rsdp);
    items.addFile(TABLES_FILE, tables);
  }
  return { block: refTo(host.arena.allocate(FwCfg.blockSize)), items: items.finish() };
}

/** The items as they are collected. */
class Items {
  readonly #items: FwCfgItem[] = [];
  readonly #files: { readonly name: string; readonly key: number; readonly size: number }[] = [];
  readonly #arena: SharedArena;
  readonly descriptors: Descriptors;

  constructor(arena: SharedArena, descriptors: Descriptors) {
    this.#arena = arena;
    this.descriptors = descriptors;
  }

  add(key: number, bytes: Uint8Array): void {
    this.addContent(key, bytes.length, this.#keep(bytes));
  }

  /** A 32-bit number, little-endian. */
  addNumber(key: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.add(key, bytes);
  }

  addContent(key: number, size: number, content: FwCfgContent): void {
    this.#items.push({ key, size, content });
  }

  addFile(name: string, bytes: Uint8Array): void {
    this.addFileContent(name, bytes.length, this.#keep(bytes));
  }

  /** @throws FwCfgError when the directory cannot name it */
  addFileContent(name: string, size: number, content: FwCfgContent): void {
    const length = Buffer.byteLength(name);
    if (length === 0 || length >= NAME_BYTES || name.includes("\0"))
      throw new FwCfgError(
        `fw_cfg item '${name}' needs another name: 1 to ${NAME_BYTES - 1} bytes are possible, and it has ${length}`,
      );
    if (this.#files.some((file) => file.name === name))
      throw new FwCfgError(`there are two fw_cfg items with the name '${name}': give one of them another`);
    if (size > MAX_BYTES)
      throw new FwCfgError(`fw_cfg item '${name}' has ${size} bytes, ${MAX_BYTES} is the most that is possible`);
    if (this.#files.length === MAX_FILES)
      throw new FwCfgError(`there are more than ${MAX_FILES} fw_cfg items: give fewer`);
    const key = Key.FIRST_FILE + this.#files.length;
    this.#files.push({ name, key, size });
    this.addContent(key, size, content);
  }

  /** All items, with the directory of the files: the directory's numbers are big-endian. */
  finish(): readonly FwCfgItem[] {
    const bytes = new Uint8Array(4 + (8 + NAME_BYTES) * this.#files.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.#files.length);
    for (const [i, { name, key, size }] of this.#files.entries()) {
      const at = 4 + (8 + NAME_BYTES) * i;
      view.setUint32(at, size);
      view.setUint16(at + 4, key);
      bytes.set(new TextEncoder().encode(name), at + 8);
    }
    this.add(Key.DIRECTORY, bytes);
    return this.#items;
  }

  /** Copies bytes to where all threads see them. */
  #keep(bytes: Uint8Array): FwCfgContent {
    const block = this.#arena.allocate(Math.max(1, bytes.length));
    block.u8.set(bytes);
    return { kind: "memory", address: block.address };
  }
}

/** A Linux image comes in two parts, any other file as one. */
function addKernel(items: Items, path: string): void {
  const file = new BootFile(path, "kernel");
  items.descriptors.own(file.fd);
  const codeAt = isBzImage(file) ? parseBzImage(file).code.fileOffset : 0;
  const setup = file.read(0, codeAt);
  if (setup.length > 0) {
    setup[SetupHeader.TYPE_OF_LOADER] = LOADER_UNDEFINED;
    setup[SetupHeader.SETUP_SECTS] ||= DEFAULT_SETUP_SECTORS;
  }
  items.addNumber(Key.SETUP_SIZE, setup.length);
  items.add(Key.SETUP_DATA, setup);
  addPart(items, Key.KERNEL_SIZE, Key.KERNEL_DATA, file, codeAt);
}

function addInitramfs(items: Items, path: string): void {
  const file = new BootFile(path, "initramfs");
  items.descriptors.own(file.fd);
  addPart(items, Key.INITRD_SIZE, Key.INITRD_DATA, file, 0);
}

function addPart(items: Items, sizeKey: number, dataKey: number, file: BootFile, offset: number): void {
  const size = file.size - offset;
  if (size > MAX_BYTES)
    throw new FwCfgError(
      `the ${file.role} ${file.path} is too large for fw_cfg: give --fw-cfg-config ${file.role}=off`,
    );
  items.addNumber(sizeKey, size);
  items.addContent(dataKey, size, { kind: "file", fd: file.fd, offset });
}

function addUserItem(items: Items, { name, file: path, string: text }: UserItem): void {
  if (path === undefined) {
    items.addFile(name, new TextEncoder().encode(text ?? ""));
    return;
  }
  const option = `fw_cfg item '${name}'`;
  const file = openGuestFile({ option, path, size: undefined, discardWrites: true, temporary: false });
  items.descriptors.own(file.fd);
  items.addFileContent(name, file.size, { kind: "file", fd: file.fd, offset: 0 });
}

/** Entries of 20 bytes, as the Linux boot protocol has them. */
function memoryMap({ ram }: MachinePlan): Uint8Array {
  const out = new ByteWriter();
  for (const { gpa, size, type } of fwCfgMemoryMap(ramEnd(ram))) {
    out.u64(gpa);
    out.u64(size);
    out.u32(type);
  }
  return out.finish();
}
