import type { VmConfig } from "../../config/schema/vm.ts";
import { Capability, type CapabilityNumber } from "../../host/privileges.ts";
import { PASST } from "../../net/passt-program.ts";

/** What making any VM may take, where the process has it: to open files of other users, and to lock guest RAM. */
const ANY_VM: readonly CapabilityNumber[] = [Capability.DAC_OVERRIDE, Capability.IPC_LOCK];
/**
 * What a launcher keeps for passt, which becomes another user when root starts it, and opens low ports; the launcher and the
 * VMM have to be able to end it then.
 */
const FOR_PASST: ReadonlySet<CapabilityNumber> = new Set([
  Capability.SETUID,
  Capability.SETGID,
  Capability.NET_BIND_SERVICE,
  Capability.KILL,
]);

/** What a launcher keeps that starts these programs. */
export const launcherCapabilities = (programs: { has(name: string): boolean }): ReadonlySet<CapabilityNumber> =>
  programs.has(PASST) ? FOR_PASST : new Set();

/**
 * The capabilities that a VMM keeps for its whole life, since a guest that reboots has its devices opened again.
 * @param nets the VM's; "any" when devices can be added later
 */
export function neededCapabilities(nets: VmConfig["net"] | "any"): ReadonlySet<CapabilityNumber> {
  const has = (user: boolean): boolean => nets === "any" || (nets?.some((net) => net.user === user) ?? false);
  return new Set([...ANY_VM, ...(has(false) ? [Capability.NET_ADMIN] : []), ...(has(true) ? [Capability.KILL] : [])]);
}
