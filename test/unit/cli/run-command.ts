import { runCommand } from "citty";
import { cloudHypervisorCommand } from "../../../src/cli/command.ts";
import { print } from "../../../src/cli/print.ts";

/** The command on its own: says what it was asked to run, and ends with code 7. */
const { result } = await runCommand(
  cloudHypervisorCommand(({ start, options }) => {
    print("stdout", `${start} ${[...options.names()].join(",")}\n`);
    return 7;
  }),
  { rawArgs: process.argv.slice(2) },
);
process.exitCode = Number(result);
