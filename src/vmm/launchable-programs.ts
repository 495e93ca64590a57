import type { LaunchablePrograms } from "../host/launcher/serve.ts";
import { PROGRAM, SELF, SIZE_WATCH_NAME } from "../host/own-program.ts";
import { arePasstArguments, PASST, PASST_FIXED_ARGUMENTS } from "../net/passt-program.ts";

/** All that the launcher of a VMM starts. */
export const LAUNCHABLE_PROGRAMS: LaunchablePrograms = new Map([
  [PASST, { file: PASST, argv0: PASST, fixedArgs: PASST_FIXED_ARGUMENTS, allows: arePasstArguments }],
  [
    SIZE_WATCH_NAME,
    { file: SELF, argv0: SIZE_WATCH_NAME, fixedArgs: PROGRAM, allows: (args: readonly string[]) => args.length === 0 },
  ],
]);
