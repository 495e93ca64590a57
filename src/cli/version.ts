import { buildVersion } from "./build-version.ts";

/** Versions of the migration protocol that this VMM speaks. */
export const MIGRATION_PROTOCOL_VERSIONS: readonly number[] = [0];

/** Features of this build, as `--version -v` and the API's ping list them. */
export const BUILD_FEATURES: readonly string[] = ["fw_cfg", "io_uring", "kvm", "ivshmem"];

/** What `--version` prints. @param verbose list the build's features too */
export function versionText(verbose: boolean): string {
  const lines = [
    `cloud-hypervisor ${buildVersion}`,
    `Migration Protocol Versions: ${MIGRATION_PROTOCOL_VERSIONS.join(", ")}`,
  ];
  if (verbose) lines.push(`Enabled features: [${BUILD_FEATURES.map((feature) => `"${feature}"`).join(", ")}]`);
  return `${lines.join("\n")}\n`;
}
