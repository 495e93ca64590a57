import { type Checks, checkQueueSize, deviceName, isPowerOfTwo, refuse, totalRam } from "./checks.ts";

/** Rules 36 to 39: devices served by another process. @throws ValidationError */
export function checkVhostUserDevices(checks: Checks): void {
  const { fs = [], generic_vhost_user: generic = [], cpus } = checks.config;
  if (fs.length > 0) checks.needSharedRam("--fs");
  for (const [index, device] of fs.entries()) {
    const what = deviceName("--fs", index, device.id);
    if (device.num_queues > cpus.boot_vcpus)
      refuse("fs-queues", `${what}: ${device.num_queues} queues, more than CPUs at boot: ${cpus.boot_vcpus}`);
    checkQueueSize(what, device.queue_size);
    checks.noIommu(what, device);
    checks.pciAndId(what, device);
  }
  if (generic.length > 0) checks.needSharedRam("--generic-vhost-user");
  for (const [index, device] of generic.entries()) {
    const what = deviceName("--generic-vhost-user", index, device.id);
    checks.noIommu(what, device);
    for (const size of device.queue_sizes) checkQueueSize(what, size);
    checks.pciAndId(what, device);
  }
}

/** Rule 40. @throws ValidationError */
export function checkPlainDevices(checks: Checks): void {
  const { pmem = [], rng, rtc, console: virtioConsole } = checks.config;
  for (const [index, device] of pmem.entries()) checks.pciAndId(deviceName("--pmem", index, device.id), device);
  checks.pciAndId("--rng", rng);
  if (rtc !== undefined) checks.pciAndId("--rtc", rtc);
  checks.pciAndId("--console", virtioConsole);
}

/** Rules 47 to 49. @throws ValidationError */
export function checkUserAndVdpaDevices(checks: Checks): void {
  const { user_devices: userDevices = [], vdpa = [] } = checks.config;
  if (userDevices.length > 0) checks.needSharedRam("--user-device");
  for (const [index, device] of userDevices.entries()) {
    const what = deviceName("--user-device", index, device.id);
    checks.noIommu(what, device);
    checks.pciAndId(what, device);
  }
  for (const [index, device] of vdpa.entries()) checks.pciAndId(deviceName("--vdpa", index, device.id), device);
}

/** Context ids with a meaning of their own: virtio specification 1.3, section 5.10.4. */
const SPECIAL_CIDS: ReadonlySet<number> = new Set([0, 1, 2, 0xffff_ffff]);

/** Rule 50. @throws ValidationError */
export function checkVsockCid({ config: { vsock } }: Checks): void {
  if (vsock !== undefined && SPECIAL_CIDS.has(vsock.cid))
    refuse("vsock-cid", `--vsock: context id ${vsock.cid} has a special meaning, use 3 to 4294967294`);
}

/** Rule 51. @throws ValidationError */
export function checkBalloon(checks: Checks): void {
  const { balloon } = checks.config;
  if (balloon === undefined) return;
  checks.pciAndId("--balloon", balloon);
  const ram = totalRam(checks.config);
  if (balloon.size >= ram)
    refuse("balloon-size", `--balloon: size ${balloon.size} is not below the guest's RAM of ${ram} bytes`);
}

/** BARs of a PCI device: PCI local bus specification 3.0, section 6.2.5. */
const LAST_BAR = 5;

/** Rules 52 to 55. @throws ValidationError */
export function checkVfioDevices(checks: Checks): void {
  const { devices = [], platform } = checks.config;
  const paths = new Set<string>();
  for (const [index, device] of devices.entries()) {
    const what = deviceName("--device", index, device.id);
    if (device.path !== undefined) {
      if (paths.has(device.path)) refuse("duplicate-device-path", `${what}: path '${device.path}' is used twice`);
      paths.add(device.path);
    }
    checks.pci(what, device);
    if (device.path === undefined && device.fd === undefined) refuse("device-source", `${what} needs a path or an fd`);
    if (device.path !== undefined && device.fd !== undefined)
      refuse("device-sources", `${what}: path and fd exclude each other`);
    if (device.fd !== undefined && platform?.iommufd_fd === undefined)
      refuse("device-fd-iommufd", `${what}: fd needs --platform iommufd_fd`);
    if (device.x_nv_gpudirect_clique !== undefined && platform?.vfio_p2p_dma === false)
      refuse("device-clique", `${what}: x_nv_gpudirect_clique needs --platform vfio_p2p_dma=on`);
    for (const bar of device.x_exclude_mmap_bars)
      if (bar > LAST_BAR) refuse("device-bar", `${what}: there is no BAR ${bar}, the last is ${LAST_BAR}`);
    checks.id(device.id);
  }
}

/** Rule 56. @throws ValidationError */
export function checkVsock(checks: Checks): void {
  const { vsock } = checks.config;
  if (vsock !== undefined) checks.pciAndId("--vsock", vsock);
}

/** Rule 66. @throws ValidationError */
export function checkIvshmem(checks: Checks): void {
  const { ivshmem } = checks.config;
  if (ivshmem === undefined) return;
  const { path, size } = ivshmem;
  checks.noIommu("--ivshmem", ivshmem);
  checks.pci("--ivshmem", ivshmem);
  if (!isPowerOfTwo(size)) refuse("ivshmem-size", `--ivshmem: size ${size} is not a power of two`);
  const bytes = fileBytes(path);
  if (bytes === undefined) refuse("ivshmem-file", `--ivshmem: there is no file '${path}'`);
  if (bytes < size)
    refuse("ivshmem-file-size", `--ivshmem: file '${path}' has ${bytes} bytes, less than the size of ${size}`);
  checks.id(ivshmem.id);
}

/** @returns undefined where no file can be reached, for whatever reason: paths of the API may be no paths at all */
function fileBytes(path: string): number | undefined {
  try {
    return process.getBuiltinModule("node:fs").statSync(path).size;
  } catch {
    return undefined;
  }
}
