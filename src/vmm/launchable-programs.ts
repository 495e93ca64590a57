import type { LaunchablePrograms } from "../host/launcher/serve.ts";
import { PROGRAM, SELF, SIZE_WATCH_NAME } from "../host/own-program.ts";
import { arePasstArguments, PASST, PASST_FIXED_ARGUMENTS } from "../net/passt-program.ts";

/** Which programs a launcher starts: those for consoles, or one for networks as well. */
export const Launches = { CONSOLES: "consoles", NETWORKS: "networks" } as const;

const FOR_CONSOLES: LaunchablePrograms = new Map([
  [
    SIZE_WATCH_NAME,
    { file: SELF, argv0: SIZE_WATCH_NAME, fixedArgs: PROGRAM, allows: (args: readonly string[]) => args.length === 0 },
  ],
]);

/** All that the launcher of a VMM may have to start. */
export const LAUNCHABLE_PROGRAMS: LaunchablePrograms = new Map([
  ...FOR_CONSOLES,
  [PASST, { file: PASST, argv0: PASST, fixedArgs: PASST_FIXED_ARGUMENTS, allows: arePasstArguments }],
]);

/** @param launches one of `Launches` */
export const launchablePrograms = (launches: string | undefined): LaunchablePrograms =>
  launches === Launches.NETWORKS ? LAUNCHABLE_PROGRAMS : FOR_CONSOLES;
