import { dirname } from "node:path";
import type { ConsoleMode } from "../../config/schema/consoles.ts";
import type { DiskConfig } from "../../config/schema/disk.ts";
import type { VmConfig } from "../../config/schema/vm.ts";
import { FsRight } from "../../host/landlock.ts";
import { backingFiles } from "./backing-files.ts";

/** A path that a VM's configuration makes the VMM open, or make something in. */
export interface PathNeed {
  /** The option that says so. */
  readonly option: string;
  readonly path: string;
  /** `FsRight` flags. */
  readonly rights: number;
}

/** Devices are asked for their size and geometry, however they are opened. */
const READ = FsRight.READ_FILE | FsRight.IOCTL_DEV;
const READ_WRITE = READ | FsRight.WRITE_FILE | FsRight.TRUNCATE;
/** In a directory: a socket, in the place of one that an earlier process left. */
const SOCKET_IN = FsRight.MAKE_SOCK | FsRight.REMOVE_FILE;

const TUN = "/dev/net/tun";
const PTYS = ["/dev/pts", "/dev/ptmx"];

/**
 * What a VM opens of the host's files, when it is created and later: at its boot, at each reboot, when its devices come and go.
 * A socket that it only connects to is not among them, since Landlock does not deny that.
 */
export function pathNeeds(config: VmConfig): PathNeed[] {
  return [
    ...payloadNeeds(config),
    ...(config.memory.zones ?? []).flatMap(({ file }) => need("--memory-zone", file, READ_WRITE)),
    ...(config.disks ?? []).flatMap(diskNeeds),
    ...(config.net ?? []).flatMap(({ user, fds, tap }) =>
      user || (fds !== undefined && tap === undefined) ? [] : need("--net", TUN, READ_WRITE),
    ),
    ...need("--rng", config.rng.src, READ),
    ...(config.pmem ?? []).flatMap(({ file, discard_writes }) =>
      need("--pmem", file, discard_writes ? READ : READ_WRITE),
    ),
    ...need("--ivshmem", config.ivshmem?.path, READ_WRITE),
    ...socketNeeds("--vsock", config.vsock?.socket),
    ...consoleNeeds("--serial", config.serial),
    ...consoleNeeds("--console", config.console),
    ...consoleNeeds("--debug-console", config.debug_console),
  ];
}

function need(option: string, path: string | undefined, rights: number): PathNeed[] {
  return path === undefined || path === "" ? [] : [{ option, path, rights }];
}

function socketNeeds(option: string, path: string | undefined): PathNeed[] {
  return path === undefined ? [] : need(option, dirname(path), SOCKET_IN);
}

function payloadNeeds({ payload }: VmConfig): PathNeed[] {
  if (payload === undefined) return [];
  const { firmware, kernel, initramfs, fw_cfg_config: fwCfg } = payload;
  const items = fwCfg?.items?.item_list ?? [];
  return [
    ...need("--firmware", firmware, READ),
    ...need("--kernel", kernel, READ),
    ...need("--initramfs", initramfs, READ),
    ...items.flatMap(({ file }) => need("--fw-cfg-config", file, READ)),
  ];
}

function diskNeeds({ path, readonly, backing_files }: DiskConfig): PathNeed[] {
  if (path === undefined || path === "") return [];
  const named = backing_files ? backingFiles(path) : [];
  const rights = readonly ? READ : READ_WRITE;
  return [
    ...need("--disk", path, rights),
    ...named.flatMap((file) => need("--disk backing_files=on", file.path, file.isOwn ? rights : READ)),
  ];
}

interface ConsolePaths {
  readonly mode: ConsoleMode;
  readonly file?: string | undefined;
  readonly socket?: string | undefined;
}

/** A console is open before its VMM is confined; another VM that the same process makes later opens it again. */
function consoleNeeds(option: string, console: ConsolePaths | undefined): PathNeed[] {
  switch (console?.mode) {
    case "File":
      return need(option, console.file, READ_WRITE);
    case "Socket":
      return socketNeeds(option, console.socket);
    case "Pty":
      return PTYS.flatMap((path) => need(option, path, READ_WRITE));
    default:
      return [];
  }
}
